"""Who has how much power, and how much is enough. By multiplication, never by division."""

from __future__ import annotations

from collections.abc import Iterable

from consensus.types import ValidatorSet


class Quorum:
    """The quorum test over one validator set."""

    def __init__(self, validators: ValidatorSet) -> None:
        self.power_of = {validator.id: validator.power for validator in validators.validators}
        self.total_power = sum(self.power_of.values())

    def __contains__(self, validator: bytes) -> bool:
        return validator in self.power_of

    def power(self, validators: Iterable[bytes]) -> int:
        """The power of distinct members together."""
        return sum(self.power_of[validator] for validator in validators)

    def is_quorum(self, validators: Iterable[bytes]) -> bool:
        """Whether distinct members hold more than two thirds: 3·power > 2·total."""
        return is_quorum_power(self.power(validators), self.total_power)


def is_quorum_power(power: int, total_power: int) -> bool:
    """Threshold: more than two thirds, so that two quorums share an honest validator."""
    return 3 * power > 2 * total_power


def is_tolerable_power(power: int, total_power: int) -> bool:
    """Threshold: less than one third may be Byzantine."""
    return 3 * power < total_power
