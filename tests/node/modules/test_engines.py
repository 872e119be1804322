"""Engines by governance: known an epoch ahead, refused before their height, never changed, retired without harm."""

from __future__ import annotations

from dataclasses import replace

import pytest

import attribution.head.request as engine
from node.errors import TransactionReason
from node.modules import engines as module
from node.modules.engines import ENGINES, MOST_ENGINES, Engine, Engines, cost_of, lacking
from node.modules.governance import Action, ActivateEngine, CastBallot, ProposalChanged, ProposalStatus, Propose
from node.modules.governance import RetireEngine as Retire
from node.state.view import View
from tests.node.modules.scenes import PARAMETERS, Scene, committed_scene, genesis_scene, ungated_scene

TABLES = bytes(range(32))
HEAD = Engine(name="head/1", tables_hash=bytes(32), cost_permille=1_000, from_height=0, is_retired=False)


def activate(scene: Scene, **changes: object) -> ActivateEngine:
    """As early as may be, when the vote that decides is three blocks from here."""
    height = scene.ledger.height + 3 + PARAMETERS.epoch_length_heights
    action = ActivateEngine(name="head/2", tables_hash=TABLES, cost_permille=2_500, height=height)
    return replace(action, **changes)  # type: ignore[arg-type]


def decide(scene: Scene, action: Action) -> tuple[ProposalStatus, str]:
    proposal = scene.ledger.do(scene.operators[0], Propose(action=action)).transaction_id
    for operator in scene.operators[1:3]:
        scene.ledger.do(operator, CastBallot(proposal=proposal, is_yes=True))
    decided = scene.ledger.last(ProposalChanged)
    return decided.status, decided.failure


def failed(reason: TransactionReason) -> tuple[ProposalStatus, str]:
    return ProposalStatus.FAILED, reason.value


PASSED = (ProposalStatus.PASSED, "")


def test_the_first_engines_are_those_of_genesis() -> None:
    assert ENGINES.get(genesis_scene().ledger.state) == Engines(engines=(HEAD,))


def test_a_vote_adds_an_engine_from_a_height_an_epoch_ahead() -> None:
    scene = genesis_scene()
    action = activate(scene)
    assert decide(scene, replace(action, height=action.height - 1)) == failed(TransactionReason.NOT_ADMISSIBLE)
    action = activate(scene)
    assert decide(scene, action) == PASSED
    added = Engine(name="head/2", tables_hash=TABLES, cost_permille=2_500, from_height=action.height, is_retired=False)
    assert ENGINES.get(scene.ledger.state) == Engines(engines=(HEAD, added))


def test_a_name_is_one_arithmetic_for_ever() -> None:
    scene = genesis_scene()
    assert decide(scene, activate(scene, name="head/1")) == failed(TransactionReason.ALREADY_EXISTS)
    assert decide(scene, Retire(name="head/1")) == PASSED
    assert decide(scene, activate(scene, name="head/1")) == failed(TransactionReason.ALREADY_EXISTS)
    assert decide(scene, Retire(name="head/1")) == failed(TransactionReason.ALREADY_DONE)
    assert decide(scene, Retire(name="head/9")) == failed(TransactionReason.NOT_FOUND)


def test_engines_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_ENGINES > 1
    monkeypatch.setattr(module, "MOST_ENGINES", 1)
    scene = genesis_scene()
    assert decide(scene, activate(scene)) == failed(TransactionReason.TOO_MANY)


def test_no_model_is_registered_with_an_engine_before_its_height() -> None:
    scene = committed_scene()
    action = activate(scene)
    assert decide(scene, action) == PASSED
    scene.ledger.next_epoch()
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    assert scene.ledger.height + 1 < action.height
    scene.ledger.refuses(
        scene.who("developer"),
        scene.registration(engine="head/2"),
        TransactionReason.ENGINE_INACTIVE,
        f"head/2 is active from {action.height}",
    )


def test_an_engine_is_active_from_its_height_on() -> None:
    scene = genesis_scene()
    view = View(scene.ledger.state)
    ENGINES.put(view, Engines(engines=(replace(HEAD, from_height=9),)))
    module.require_engine(view, "head/1", 9)
    with pytest.raises(module.TransactionRejected, match="head/1 is active from 9"):
        module.require_engine(view, "head/1", 8)


def test_a_retired_engine_takes_no_new_models_and_its_old_ones_answer() -> None:
    scene = ungated_scene()
    assert decide(scene, Retire(name="head/1")) == PASSED
    scene.ledger.refuses(
        scene.who("developer"),
        scene.registration(),
        TransactionReason.ENGINE_INACTIVE,
        "head/1 takes no new models",
    )
    question = scene.ask(1, 1)
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    scene.ledger.do(scene.who("attributor"), scene.answer(question))


def test_work_counts_as_much_as_its_engine_costs() -> None:
    view = View(genesis_scene().ledger.state)
    for cost_permille, counted in ((1_000, 1_001), (2_500, 2_503), (1, 2), (500, 501)):
        ENGINES.put(view, Engines(engines=(replace(HEAD, cost_permille=cost_permille),)))
        assert cost_of(view, "head/1", 1_001) == counted


def test_a_registration_counts_what_its_engine_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = committed_scene()
    scene.ledger.next_epoch()
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    payload = scene.registration()
    monkeypatch.setattr(module, "USUAL_COST_PERMILLE", 1)  # a thousand times as dear
    work_macs, most_macs = 1_000 * engine.certify_work(40, 6), PARAMETERS.transaction_work_macs
    scene.ledger.refuses(
        scene.who("developer"),
        payload,
        TransactionReason.TOO_MUCH_WORK,
        f"{work_macs} multiply-accumulates; the limit is {most_macs}",
    )


def test_a_program_lacks_an_engine_whose_name_or_tables_it_does_not_have() -> None:
    other = replace(HEAD, name="head/2", tables_hash=TABLES)
    both = Engines(engines=(HEAD, other))
    assert lacking(both, {"head/1": bytes(32), "head/2": TABLES}) == ()
    assert lacking(both, {"head/1": bytes(32)}) == (other,)
    assert lacking(both, {"head/1": TABLES, "head/2": TABLES}) == (HEAD,)
