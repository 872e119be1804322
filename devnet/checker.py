"""Judges a run by what its clients saw and what the nodes say over their public RPC.

The order of transactions in the chain is the witness: if replaying it gives every client the answer it got, and no
operation stands before one that had returned when it was called, the history is strictly serializable, and every
register is linearizable. Registers are checked a second time from the clients' side alone, since a successful
compare-and-set names the version it replaced. Everything takes time near-linear in the length of the history.

`docs/consistency.md` says what is promised; each rule below is named there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from devnet.history import (
    Answers,
    FinalTransaction,
    History,
    Operation,
    Outcome,
    ReadOrder,
    SetOrder,
)
from devnet.progress import check_progress
from devnet.replay import Ledger

MOST_VIOLATIONS = 20
"""Of one rule: the first ones tell."""


@dataclass(frozen=True)
class Violation:
    """A broken promise."""

    rule: str
    """Which."""
    text: str
    """How."""


def check(history: History, answers: Answers, bound_s: float) -> list[Violation]:
    """Everything that is wrong with a run; `bound_s` is how soon after a healing every node has new blocks."""
    ledger = Ledger(dict(answers.genesis_balances))
    ledger.run(answers.transactions)
    rules: dict[str, Callable[[], Iterator[str]]] = {
        "agreement": lambda: check_agreement(answers),
        "once": lambda: check_once(history, answers),
        "execution": lambda: iter(ledger.problems),
        "supply": lambda: check_supply(answers, ledger),
        "accusation": lambda: check_accusations(answers),
        "versions": lambda: check_versions(history),
        "reads": lambda: check_reads(history, ledger),
        "real time": lambda: check_real_time(history, answers),
        "sessions": lambda: check_sessions(history),
        "progress": lambda: check_progress(history, bound_s),
    }
    found = []
    for rule, run in rules.items():
        problems = list(run())
        found += [Violation(rule, text) for text in problems[:MOST_VIOLATIONS]]
        if len(problems) > MOST_VIOLATIONS:
            found.append(Violation(rule, f"and {len(problems) - MOST_VIOLATIONS} more"))
    return found


def check_agreement(answers: Answers) -> Iterator[str]:
    """No two nodes show another block or another state at a height, and each node's blocks are one chain."""
    known: dict[int, tuple[str, str, str]] = {}
    for node, blocks in answers.blocks.items():
        for place, block in enumerate(blocks):
            if block.height != place:
                yield f"{node} shows block {block.height} where block {place} belongs"
            if place and block.parent_id != blocks[place - 1].id:
                yield f"block {block.height} of {node} does not extend its block {place - 1}"
            first, block_id, root = known.setdefault(block.height, (node, block.id, block.state_root))
            if (block_id, root) != (block.id, block.state_root):
                yield (
                    f"at height {block.height} {first} has block {block_id} with root {root}, "
                    f"{node} has block {block.id} with root {block.state_root}"
                )


def check_once(history: History, answers: Answers) -> Iterator[str]:
    """Each acknowledged transaction is final exactly once, where and how the client was told."""
    places: defaultdict[str, list[FinalTransaction]] = defaultdict(list)
    for each in answers.transactions:
        places[each.id].append(each)
    for transaction_id, found in places.items():
        if len(found) > 1:
            yield f"transaction {transaction_id} is final in blocks {', '.join(str(each.height) for each in found)}"
    for operation in history.operations:
        if operation.outcome is Outcome.UNKNOWN or not operation.transaction_id:
            continue
        what = f"{operation.client} was told by {operation.node} that transaction {operation.transaction_id}"
        found = places.get(operation.transaction_id, [])
        if not found:
            yield f"{what} is final in block {operation.height}: no block has it"
        elif isinstance(operation.order, ReadOrder):
            continue  # its height is the read's, not the marker's
        elif (operation.height, operation.index, operation.failure) != (
            found[0].height,
            found[0].index,
            found[0].failure,
        ):
            yield (
                f"{what} stands at {operation.height}/{operation.index} with {operation.failure or 'ok'!r}: "
                f"it stands at {found[0].height}/{found[0].index} with {found[0].failure or 'ok'!r}"
            )


def check_supply(answers: Answers, ledger: Ledger) -> Iterator[str]:
    """Nothing was made or lost: each node's audit, its totals, and its balances against the replayed ones."""
    for node, holdings in answers.holdings.items():
        if holdings.conservation_error:
            yield f"{node}'s own audit: {holdings.conservation_error}"
        if holdings.supply_units != answers.genesis_units:
            yield f"{node} says there are {holdings.supply_units} base units, at genesis {answers.genesis_units}"
        if holdings.treasury_units != ledger.treasury_units:
            yield f"{node} says the treasury has {holdings.treasury_units}; the fees add up to {ledger.treasury_units}"
        for address, units in holdings.balances.items():
            if units != ledger.balances.get(address, 0):
                yield f"{node} says {address} has {units}; replayed it has {ledger.balances.get(address, 0)}"


def check_accusations(answers: Answers) -> Iterator[str]:
    """No node is accused of equivocation: none lied."""
    for node, count in answers.accused.items():
        if count:
            yield f"{node} holds {count} proofs of equivocation against nodes that run the honest program"


def check_versions(history: History) -> Iterator[str]:
    """Registers from the clients' side alone: successes in the order of versions, fresh reads between them."""
    registers: defaultdict[str, list[tuple[int, bool, str, Operation]]] = defaultdict(list)
    for operation in history.operations:
        order = operation.order
        if operation.outcome is not Outcome.OK:
            continue
        if isinstance(order, SetOrder):
            registers[order.register].append((order.expected_version + 1, False, order.value, operation))
        elif isinstance(order, ReadOrder) and order.is_fresh:
            registers[order.register].append((order.version, True, order.value, operation))
    for register, clusters in registers.items():
        clusters.sort(key=lambda each: (each[0], each[1], each[3].called_s))
        yield from _check_clusters(register, clusters)


def check_reads(history: History, ledger: Ledger) -> Iterator[str]:
    """Each read gives what the chain made of the register up to the block it names."""
    for operation in history.operations:
        order = operation.order
        if not isinstance(order, ReadOrder) or operation.outcome is not Outcome.OK:
            continue
        slot = ledger.slots.get((history.owner, order.register))
        expected = None if slot is None else slot.after(operation.height)
        if expected != (order.version, order.value):
            yield (
                f"{operation.client} read version {order.version} ({order.value}) of {order.register} on "
                f"{operation.node} after block {operation.height}; replayed it is {expected}"
            )


def check_real_time(history: History, answers: Answers) -> Iterator[str]:
    """No operation stands in the chain before one that had returned when it was called."""
    latest_s, latest = -math.inf, ""
    for operation, returned_s, is_bounding in _in_order(history, answers):
        if returned_s < latest_s:
            yield (
                f"{_name(operation)} returned at {returned_s:.3f} s and stands after {latest}, "
                f"which was called at {latest_s:.3f} s"
            )
        if is_bounding and operation.called_s > latest_s:
            latest_s, latest = operation.called_s, _name(operation)


def check_sessions(history: History) -> Iterator[str]:
    """What a node tells never goes back, acknowledgements included, as long as it keeps its disk."""
    events: defaultdict[str, list[tuple[float, int, Operation | None]]] = defaultdict(list)
    for wipe in history.wipes:
        events[wipe.node].append((wipe.at_s, 0, None))
    for operation in history.operations:
        if operation.outcome is not Outcome.UNKNOWN:
            events[operation.node].append((operation.called_s, 2, operation))
            events[operation.node].append((operation.returned_s, 1, operation))
    for node, happened in events.items():
        floor, lives = 0, 0
        begun: dict[int, tuple[int, int]] = {}
        for _, what, event in sorted(happened, key=lambda each: each[:2]):
            if event is None:
                floor, lives = 0, lives + 1
            elif what == 2:
                begun[id(event)] = (floor, lives)
            elif begun[id(event)][1] == lives:
                if isinstance(event.order, ReadOrder) and event.height < begun[id(event)][0]:
                    yield f"{node} had told of block {begun[id(event)][0]}, then answered {_name(event)}"
                floor = max(floor, event.height)


def _check_clusters(register: str, clusters: Sequence[tuple[int, bool, str, Operation]]) -> Iterator[str]:
    latest_s, latest = -math.inf, ""
    written: dict[int, tuple[str, str]] = {}
    for version, is_read, value, operation in clusters:
        if not is_read and version in written:
            yield (
                f"version {version - 1} of {register} was replaced twice: by {written[version][0]} "
                f"and by {_name(operation)}; one update is lost"
            )
        elif not is_read:
            written[version] = (_name(operation), value)
        elif version in written and written[version][1] != value:
            yield f"{_name(operation)} read {value} as version {version}, which is {written[version][1]}"
        if operation.returned_s < latest_s:
            yield (
                f"{_name(operation)} knew version {version} of {register}, returned at {operation.returned_s:.3f} s; "
                f"{latest}, which comes before it by its version, was called at {latest_s:.3f} s"
            )
        if operation.called_s > latest_s:
            latest_s, latest = operation.called_s, _name(operation)


def _in_order(history: History, answers: Answers) -> list[tuple[Operation, float, bool]]:
    """Operations as the chain orders them, when each had returned, and whether those before it bound what follows.

    A read stands after its block. A read that is not fresh may be old, so nothing has to come before it.
    """
    places = {each.id: (each.height, each.index) for each in answers.transactions}
    found: list[tuple[tuple[float, float, float], Operation, float, bool]] = []
    for operation in history.operations:
        if isinstance(operation.order, ReadOrder):
            if operation.outcome is Outcome.OK:
                place = (operation.height, math.inf, operation.called_s)
                found.append((place, operation, operation.returned_s, operation.order.is_fresh))
        elif operation.transaction_id in places:
            height, index = places[operation.transaction_id]
            returned_s = math.inf if operation.outcome is Outcome.UNKNOWN else operation.returned_s
            found.append(((height, index, 0.0), operation, returned_s, True))
    found.sort(key=lambda each: each[0])
    return [(operation, returned_s, is_bounding) for _, operation, returned_s, is_bounding in found]


def _name(operation: Operation) -> str:
    order = operation.order
    match order:
        case ReadOrder():
            what = f"{'fresh ' if order.is_fresh else ''}read of {order.register} after block {operation.height}"
        case SetOrder():
            what = f"set of {order.register} over version {order.expected_version}"
        case _:
            what = f"transfer {operation.transaction_id[:12]}"
    return f"{operation.client}'s {what}"
