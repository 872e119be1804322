"""Golden results of head/1: those of `golden`, under the name that the sweep looks for."""

from __future__ import annotations

from tests.attribution import golden


def digests() -> dict[str, str]:
    """Everything that must be equal on every machine."""
    return golden.digests()
