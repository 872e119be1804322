"""The checker finds what it is there for: each planted violation is found by its rule, and a good run has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from devnet.checker import Violation, check
from devnet.history import (
    Answers,
    BlockLine,
    FinalTransaction,
    History,
    Holdings,
    Operation,
    Outcome,
    ReadOrder,
    Sample,
    SetOrder,
    TransferOrder,
    Window,
    Wipe,
)
from devnet.progress import blocks_gained, longest_gap, seconds_to_progress
from devnet.replay import CREATE_REGISTER, SET_REGISTER, TRANSFER
from node.payloads import CreateRegister, SetRegister, Transfer
from node.primitives.address import format_address
from node.primitives.codec import encode
from tests.factories import make_key

BOUND_S = 5.0
FEE_UNITS = 10
RICH_UNITS = 1_000_000
ANN, BOB, OWNER = (make_key(name).address for name in ("ann", "bob", "owner"))
NAMES = {"ann": ANN, "bob": BOB, "owner": OWNER}
NODES = ("node1", "node2", "node3", "node4")


class Run:
    """A good run, told step by step: operation by operation, each in a block of its own."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.transactions: list[FinalTransaction] = []
        self.nonces = dict.fromkeys(NAMES, 0)
        self.wipes: list[Wipe] = []
        self._final("owner", CREATE_REGISTER, CreateRegister(name="r", writers=tuple(sorted((ANN, BOB))), value=b"0"))

    @property
    def height(self) -> int:
        return len(self.transactions)

    def transfer(self, client: str, units: int, failure: str = "", **known: Any) -> None:
        transaction = self._final(client, TRANSFER, Transfer(recipient=OWNER, amount_units=units), failure)
        order = TransferOrder(recipient=format_address(OWNER), amount_units=units)
        self._note(client, order, transaction, **known)

    def set(self, client: str, expected_version: int, value: str, failure: str = "", **known: Any) -> None:
        payload = SetRegister(owner=OWNER, name="r", expected_version=expected_version, value=bytes.fromhex(value))
        transaction = self._final(client, SET_REGISTER, payload, failure)
        order = SetOrder(register="r", expected_version=expected_version, value=value)
        self._note(client, order, transaction, **known)

    def read(self, client: str, version: int, value: str, *, is_fresh: bool = False, **known: Any) -> None:
        transaction = self._final(client, TRANSFER, Transfer(recipient=OWNER, amount_units=1)) if is_fresh else None
        order = ReadOrder(register="r", is_fresh=is_fresh, version=version, value=value)
        self._note(client, order, transaction, **{"height": self.height, **known})

    def history(self) -> History:
        samples = [
            Sample(node=node, at_s=float(moment), height=moment) for moment in range(self.height + 1) for node in NODES
        ]
        return History(
            owner=format_address(OWNER),
            operations=self.operations,
            wipes=self.wipes,
            samples=samples,
            ended_s=float(self.height),
        )

    def answers(self) -> Answers:
        genesis = {format_address(address): RICH_UNITS for address in NAMES.values()}
        balances = dict(genesis)
        for each in self.transactions:
            balances[each.sender] -= FEE_UNITS
        for operation, units in [
            (each, each.order.amount_units) for each in self.operations if isinstance(each.order, TransferOrder)
        ]:
            if not operation.failure:
                self._move(balances, operation.client, units)
        for operation in self.operations:
            if isinstance(operation.order, ReadOrder) and operation.transaction_id:
                self._move(balances, operation.client, 1)
        blocks = [
            BlockLine(height=height, id=f"block {height}", parent_id=f"block {height - 1}", state_root=f"root {height}")
            for height in range(self.height + 1)
        ]
        holdings = Holdings(
            balances=balances,
            treasury_units=FEE_UNITS * len(self.transactions),
            supply_units=3 * RICH_UNITS,
            conservation_error="",
        )
        return Answers(
            genesis_balances=genesis,
            genesis_units=3 * RICH_UNITS,
            blocks={node: list(blocks) for node in NODES},
            transactions=list(self.transactions),
            holdings=dict.fromkeys(NODES, holdings),
            accused=dict.fromkeys(NODES, 0),
        )

    def _move(self, balances: dict[str, int], client: str, units: int) -> None:
        balances[format_address(NAMES[client])] -= units
        balances[format_address(OWNER)] += units

    def _final(self, client: str, kind: int, payload: object, failure: str = "") -> FinalTransaction:
        transaction = FinalTransaction(
            id=f"transaction {self.height + 1}",
            height=self.height + 1,
            index=0,
            kind=kind,
            sender=format_address(NAMES[client]),
            nonce=self.nonces[client],
            fee_units=FEE_UNITS,
            payload=encode(payload).hex(),
            failure=failure,
        )
        self.nonces[client] += 1
        self.transactions.append(transaction)
        return transaction

    def _note(self, client: str, order: Any, transaction: FinalTransaction | None, **known: Any) -> None:
        failure = "" if transaction is None else transaction.failure
        made: dict[str, Any] = {
            "client": client,
            "node": "node1",
            "called_s": self.height - 0.5,
            "returned_s": float(self.height),
            "order": order,
            "outcome": Outcome.FAILED if failure else Outcome.OK,
            "failure": failure,
        }
        if transaction is not None:
            made |= {"transaction_id": transaction.id, "height": transaction.height, "index": transaction.index}
        self.operations.append(Operation(**{**made, **known}))


def good_run() -> Run:
    run = Run()
    run.transfer("ann", 5)
    run.set("ann", 0, "aa")
    run.set("bob", 0, "bb", failure="stale_register")
    run.set("bob", 1, "bb")
    run.read("ann", 1, "aa", node="node2", height=3)  # old, and says so
    run.transfer("bob", 2 * RICH_UNITS, failure="insufficient_balance")
    run.read("ann", 2, "bb", is_fresh=True)
    run.transfer("bob", 7, outcome=Outcome.UNKNOWN, returned_s=5.1)
    run.set("ann", 2, "cc", outcome=Outcome.UNKNOWN)
    return run


def rules(found: list[Violation]) -> set[str]:
    return {each.rule for each in found}


def test_good_run_with_stale_reads_failures_and_unknown_outcomes_has_no_violation() -> None:
    run = good_run()
    assert check(run.history(), run.answers(), BOUND_S) == []


def test_two_blocks_at_one_height_are_found_and_so_is_another_state_of_the_same_block() -> None:
    run = good_run()
    for changed in ({"id": "another"}, {"state_root": "another"}):
        answers = run.answers()
        answers.blocks["node3"][-1] = msgspec.structs.replace(answers.blocks["node3"][-1], **changed)
        found = check(run.history(), answers, BOUND_S)
        assert rules(found) == {"agreement"}
        assert found[0].text.startswith(f"at height {run.height} node1 has block")


def test_block_that_does_not_extend_the_one_before_is_found() -> None:
    run = good_run()
    answers = run.answers()
    for blocks in answers.blocks.values():
        blocks[4] = msgspec.structs.replace(blocks[4], parent_id="block 2")
    assert "block 4 of node1 does not extend its block 3" in [
        each.text for each in check(run.history(), answers, BOUND_S)
    ]


def test_lost_update_is_found_from_the_clients_side_alone_and_against_the_chain() -> None:
    run = good_run()
    run.set("ann", 3, "dd")
    run.set("bob", 3, "ee")  # the chain says ok to both
    found = check(run.history(), run.answers(), BOUND_S)
    assert rules(found) == {"versions", "execution"}
    assert [each.text for each in found if each.rule == "versions"] == [
        (
            "version 3 of r was replaced twice: by ann's set of r over version 3 and by bob's set of r over version 3; "
            "one update is lost"
        )
    ]


def test_transfer_that_is_final_twice_is_found() -> None:
    run = good_run()
    answers = run.answers()
    answers.transactions.append(msgspec.structs.replace(answers.transactions[1], height=run.height))
    found = check(run.history(), answers, BOUND_S)
    assert {"once", "execution", "supply"} <= rules(found)
    assert found[0].text == f"transaction transaction 2 is final in blocks 2, {run.height}"


def test_acknowledged_transfer_that_no_block_has_is_found() -> None:
    run = good_run()
    answers = run.answers()
    del answers.transactions[1]
    texts = [each.text for each in check(run.history(), answers, BOUND_S) if each.rule == "once"]
    assert texts == ["ann was told by node1 that transaction transaction 2 is final in block 2: no block has it"]


def test_receipt_that_another_block_contradicts_is_found() -> None:
    run = good_run()
    run.transfer("ann", 1, index=3)
    texts = [each.text for each in check(run.history(), run.answers(), BOUND_S)]
    assert texts == [
        (
            f"ann was told by node1 that transaction transaction {run.height} stands at {run.height}/3 with 'ok': "
            f"it stands at {run.height}/0 with 'ok'"
        )
    ]


def test_stale_read_presented_as_fresh_is_found_from_both_sides() -> None:
    run = good_run()
    run.set("ann", 3, "dd")
    run.read("bob", 3, "cc", is_fresh=True, height=run.height)  # before the set that had returned
    found = check(run.history(), run.answers(), BOUND_S)
    assert rules(found) == {"versions", "reads"}
    late = Run()
    late.set("ann", 0, "aa")
    late.read("bob", 0, "30", is_fresh=True, height=1)
    assert rules(check(late.history(), late.answers(), BOUND_S)) == {"versions", "real time", "sessions"}


def test_stale_read_that_does_not_claim_to_be_fresh_is_fine_and_one_from_the_future_is_not() -> None:
    run = good_run()
    run.read("bob", 2, "bb", node="node2", height=8)
    assert check(run.history(), run.answers(), BOUND_S) == []
    run.read("bob", 3, "cc", node="node3", height=9, called_s=4.0, returned_s=4.2)
    assert rules(check(run.history(), run.answers(), BOUND_S)) == {"real time"}


def test_read_of_a_value_that_never_was_is_found() -> None:
    run = good_run()
    run.read("bob", 3, "ee")
    assert rules(check(run.history(), run.answers(), BOUND_S)) == {"reads"}


def test_node_that_forgets_what_it_told_is_found_unless_it_lost_its_disk() -> None:
    run = good_run()
    run.read("bob", 1, "aa", height=3)  # it had acknowledged later blocks
    assert rules(check(run.history(), run.answers(), BOUND_S)) == {"sessions"}
    run.wipes.append(Wipe(node="node1", at_s=run.height - 0.75))
    assert check(run.history(), run.answers(), BOUND_S) == []


def test_order_that_contradicts_real_time_is_found() -> None:
    run = good_run()
    run.transfer("ann", 1, called_s=100.0, returned_s=101.0)
    run.transfer("bob", 1, called_s=50.0, returned_s=51.0)
    found = check(run.history(), run.answers(), BOUND_S)
    assert rules(found) == {"real time"}
    assert "bob's transfer" in found[0].text


def test_replayed_receipt_that_differs_is_found() -> None:
    run = good_run()
    run.transfer("ann", 2 * RICH_UNITS)
    assert "execution" in rules(check(run.history(), run.answers(), BOUND_S))


def plant_money(holdings: Holdings) -> Holdings:
    return msgspec.structs.replace(holdings, balances={**holdings.balances, format_address(ANN): 10**9})


@pytest.mark.parametrize(
    "plant",
    [
        plant_money,
        lambda holdings: msgspec.structs.replace(holdings, treasury_units=holdings.treasury_units + 1),
        lambda holdings: msgspec.structs.replace(holdings, supply_units=holdings.supply_units + 1),
        lambda holdings: msgspec.structs.replace(holdings, conservation_error="a holding is negative: -1"),
    ],
)
def test_money_from_nowhere_is_found(plant: Callable[[Holdings], Holdings]) -> None:
    run = good_run()
    answers = run.answers()
    answers.holdings["node2"] = plant(answers.holdings["node2"])
    found = check(run.history(), answers, BOUND_S)
    assert rules(found) == {"supply"}
    assert all("node2" in each.text for each in found)


def test_accusation_of_an_honest_node_is_found() -> None:
    run = good_run()
    answers = run.answers()
    answers.accused["node4"] = 1
    assert rules(check(run.history(), answers, BOUND_S)) == {"accusation"}


def samples(*heights_by_second: tuple[int, ...]) -> list[Sample]:
    return [
        Sample(node=NODES[place], at_s=float(second), height=height)
        for second, heights in enumerate(heights_by_second)
        for place, height in enumerate(heights)
    ]


def timed(windows: list[Window], *heights: tuple[int, ...]) -> History:
    return History(owner="", operations=[], windows=windows, samples=samples(*heights), ended_s=float(len(heights) - 1))


def test_healing_is_followed_by_blocks_on_every_node_or_found() -> None:
    window = Window(fault="kill all", began_s=1.0, healed_s=2.5, is_beyond=True)
    good = timed([window], (1, 1), (2, 2), (2, 2), (2, 2), (3, 4), (4, 4))
    assert seconds_to_progress(good, window) == 2.5
    one_stays = timed([window], (1, 1), (2, 2), (2, 2), (2, 3), (2, 4), (2, 5), (2, 6))
    assert seconds_to_progress(one_stays, window) is None
    answers = Run().answers()
    late = msgspec.structs.replace(window, allowance_s=60.0)
    assert seconds_to_progress(good, late) == 2.5
    assert check(timed([late], (1, 1), (1, 1), (1, 1), *[(1, 2)] * 5, (4, 4)), answers, BOUND_S) == []
    texts = [each.text for each in check(one_stays, answers, BOUND_S) if each.rule == "progress"]
    assert texts == ["kill all healed at 2.5 s: all nodes had 2 new blocks never"]


def test_standstill_counts_only_while_a_quorum_is_at_work() -> None:
    still = [(1, 1), (2, 2), *[(2, 2)] * 6, (4, 4), (5, 5)]
    beyond = Window(fault="pause all", began_s=1.5, healed_s=7.5, is_beyond=True)
    within = Window(fault="pause one", began_s=1.5, healed_s=7.5, is_beyond=False)
    assert longest_gap(timed([beyond], *still))[0] == 1.0
    assert longest_gap(timed([within], *still)) == (7.0, 1.0)
    texts = [each.text for each in check(timed([within], *still), Run().answers(), BOUND_S)]
    assert "no node had a new block for 7.0 s from 1.0 s on, with a quorum at work" in texts


def test_blocks_gained_are_those_heard_of_between_two_moments() -> None:
    heard = samples((1, 1), (2, 1), (2, 2), (2, 3), (5, 5))
    assert blocks_gained(heard, 1.5, 2.5) == 0
    assert blocks_gained(heard, 1.5, 3.5) == 1
    assert blocks_gained(heard, 1.5, 9.0) == 3
    assert blocks_gained([], 1.0, 2.0) == 0


def test_history_comes_back_from_its_file_as_it_was() -> None:
    run = good_run()
    assert msgspec.json.decode(msgspec.json.encode(run.history()), type=History) == run.history()
    assert msgspec.json.decode(msgspec.json.encode(run.answers()), type=Answers) == run.answers()
