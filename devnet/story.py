"""The story: clinics contribute, a model is certified, patients' answers are paid for, lies are refused.

Everything goes through the nodes' public RPC, and every step looks at the chain first: a story that was interrupted
goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from attribution.head.attribute import compute
from attribution.head.fit import fit
from attribution.head.request import GateRequest
from devnet.data import CLASSES, CLINIC_RECORDS, CLINICS, Split
from devnet.faults import LIE_FILE, LIED_FILE
from devnet.model import (
    DAMPING,
    PRICE_UNITS,
    Trained,
    claim_of,
    grouping,
    load_model,
    problem_of,
    reference,
    registration,
)
from devnet.stage import STEP_TIMEOUT_S, Refusal, Stage, StoryError, batches
from node.api import views, views_chain, views_data
from node.client import CallFailed
from node.payloads import (
    Ask,
    Attribute,
    Bond,
    Claim,
    ColumnSpec,
    CommitHoldout,
    Contribute,
    CreateDatanet,
    MeasureModel,
    RejectionReason,
    ReleaseEarnings,
    RevealHoldout,
    Review,
    chunk_leaf,
    measure_claim,
)
from node.primitives.address import format_address
from node.primitives.amount import format_open
from node.primitives.crypto import sha256
from node.primitives.merkle import inclusion_proof, merkle_root

DATANET = "tumour measurements"
MODEL = "tumour classifier"
ANSWERS_AT_ONCE = 64
RELEASED_AT_ONCE = 100
DUPLICATE = f"clinic{CLINICS + 1}"
FLIPPED = f"clinic{CLINICS}"
LAST_HEIGHTS = 4
"""Nothing is begun in an epoch's last heights that must end in the epoch."""


def play(stage: Stage, split: Split) -> Trained:
    """Every step that the chain has not seen yet. Raises: StoryError, CallFailed, TransactionFailed, NetworkError."""
    lock_bonds(stage)
    datanet = open_datanet(stage, split)
    contribute(stage, split, datanet)
    review(stage, datanet)
    commit_holdout(stage, split, datanet)
    trained = load_model(stage, split, datanet, register_model(stage, split, datanet))
    measure(stage, split, datanet, trained)
    ask(stage, split, trained.model_id)
    answer(stage, split, trained)
    claim(stage)
    release(stage, datanet)
    return trained


def play_lies(stage: Stage, split: Split, trained: Trained) -> None:
    """Claims that differ by one unit or one label, and a block that carries one. Raises: StoryError."""
    honest = claim_of(stage, split, trained, stage.questions(trained.model_id)[:1])
    true = honest.answers[0]
    first = true.credits[0]
    one_off = replace(true, credits=(replace(first, influence=first.influence - 1), *true.credits[1:]))
    relabelled = replace(true, label=1 - true.label)
    stage.ensure_refused("forger1", "influence one unit off", replace(honest, answers=(one_off,)))
    stage.ensure_refused("forger2", "answer not the model's", replace(honest, answers=(relabelled,)))
    have_a_lie_nullified(stage, replace(honest, answers=(one_off,)))


# The steps.


def lock_bonds(stage: Stage) -> None:
    """Whoever sends certificates or claims has a bond."""
    amount_units = stage.devnet.genesis.parameters.attributor_bond_units
    for name in ("developer", "impostor", "attributor", "forger1", "forger2"):
        if int(stage.client.account(stage.address(name)).bond_units) < amount_units:
            stage.do(name, Bond(amount_units=amount_units))
            stage.say(f"{name} locks a bond of {format_open(amount_units)}")


def open_datanet(stage: Stage, split: Split) -> str:
    """A datanet for tumour measurements; its id."""
    for known in stage.client.iterate(views_data.DatanetView, "/datanets"):
        if known.name == DATANET:
            return known.id
    columns = tuple(
        ColumnSpec(name=each.name, decimals=each.decimals, minimum=each.minimum, maximum=each.maximum)
        for each in split.schema.columns
    )
    payload = CreateDatanet(
        name=DATANET,
        licence="CC BY 4.0",
        columns=columns,
        classes=CLASSES,
        dampings=(DAMPING,),
        reviewers=tuple(stage.devnet.accounts[f"reviewer{number}"].address for number in (1, 2, 3)),
        review_quorum=2,
    )
    done = stage.do("curator", payload)
    stage.say(f"the curator opens the datanet “{DATANET}”: {len(columns)} columns, 3 reviewers, quorum 2")
    return done.id


def contribute(stage: Stage, split: Split, datanet: str) -> None:
    """Five clinics bring their own records, the last one mislabelled; a sixth brings the first one's again."""
    stage.wait_for_age(stage.datanet(datanet).created_height)
    done = {each.contributor for each in stage.contributions(datanet)}
    for number in range(1, CLINICS + 2):
        name = f"clinic{number}"
        if stage.address(name) in done:
            continue
        records = split.clinics[0 if name == DUPLICATE else number - 1]
        payload = Contribute(datanet=bytes.fromhex(datanet), records=tuple(map(reference, records)))
        found = stage.do(name, payload, records, node=number)
        event = next(each.payload for each in found.events if each.name == "contributed")
        if event["duplicate_count"]:
            burned = format_open(int(event["burned_units"]))
            count = event["duplicate_count"]
            stage.say(f"{name} uploads clinic1's records again: {count} duplicates rejected, {burned} of bond burned")
        else:
            note = ", every label flipped" if name == FLIPPED else ""
            stage.say(f"{name} contributes {event['record_count']} records{note}")


def review(stage: Stage, datanet: str) -> None:
    """Two of three reviewers accept. Raises: StoryError."""
    pending = [each for each in stage.contributions(datanet) if each.status == "pending"]
    for contribution in pending:
        for reviewer in ("reviewer1", "reviewer2"):
            if stage.address(reviewer) not in contribution.accepted_by:
                known = bytes.fromhex(contribution.id)
                stage.do(reviewer, Review(contribution=known, is_accepted=True, reason=RejectionReason.NONE))
    accepted = len(stage.records(datanet))
    if accepted != CLINICS * CLINIC_RECORDS:
        raise StoryError(f"{accepted} records are accepted, not {CLINICS * CLINIC_RECORDS}")
    if pending:
        stage.say(f"two of three reviewers accept: {accepted} records stand in the datanet")


def commit_holdout(stage: Stage, split: Split, datanet: str) -> None:
    """The reviewers commit to labelled points that will measure the model."""
    leaves = [leaf for _, leaf in holdout_chunks(stage, split)]
    payload = CommitHoldout(datanet=bytes.fromhex(datanet), root=merkle_root(leaves), chunk_count=len(leaves))
    for reviewer in ("reviewer1", "reviewer2"):
        holdout = stage.datanet(datanet).holdout
        if holdout is None or not holdout.committed_height:
            stage.do(reviewer, payload)
            stage.say(f"{reviewer} commits to a holdout of {len(leaves)} chunks that nobody else has seen")


def group_records(stage: Stage, split: Split, datanet: str) -> None:
    """The attributor says which records are near-copies of which; every validator recomputes it."""
    wait_for_snapshot(stage)
    if stage.datanet(datanet).grouped_count < len(stage.records(datanet)):
        payload = grouping(stage, split, datanet)
        stage.do("attributor", payload)
        stage.say(
            f"the attributor groups {len(payload.leaders)} records into {len(set(payload.leaders))} clusters of "
            "near-copies: a cluster is paid once, its elder records first; every validator recomputed it"
        )


def register_model(stage: Stage, split: Split, datanet: str) -> str:
    """The developer trains and registers; before, a certificate for other records is refused. Returns the id."""
    for known in stage.client.iterate(views_data.ModelView, f"/datanets/{datanet}/models"):
        if known.name == MODEL:
            return known.id
    group_records(stage, split, datanet)
    contents = [bytes.fromhex(each.content) for each in stage.records(datanet)]
    materials = stage.fetch(contents)
    fitted = fit(problem_of(split, contents), materials)
    # The impostor trained without the last clinic's records.
    other = fit(problem_of(split, contents[: (CLINICS - 1) * CLINIC_RECORDS]), materials)
    epoch = wait_for_snapshot(stage)
    stage.ensure_refused(
        "impostor",
        "certificate for other records",
        registration(datanet, "impostor", other, epoch),
        (other.weights, other.inverse),
    )
    epoch = wait_for_snapshot(stage)
    done = stage.do("developer", registration(datanet, MODEL, fitted, epoch), (fitted.weights, fitted.inverse))
    certificate = fitted.certificate
    stage.say(
        f"the developer trains on {certificate.record_count} records and registers the model; every validator "
        f"recomputed its gradient norm {certificate.gradient_norm}·2^-40 and inverse residual "
        f"{certificate.inverse_residual}·2^-30"
    )
    return done.id


def measure(stage: Stage, split: Split, datanet: str, trained: Trained) -> None:
    """A reviewer reveals the chunk that the epoch's end drew; the model is measured on it."""
    model = stage.model(trained.model_id)
    if model.status != "awaiting_gate":
        return
    epoch = model.certified_epoch
    last_height = epoch * stage.devnet.genesis.parameters.epoch_length_heights
    stage.client.wait_for_height(last_height + 1, timeout_s=STEP_TIMEOUT_S)
    holdout = stage.datanet(datanet).holdout
    assert holdout is not None, "the holdout is committed"
    seed = stage.client.call_as(views_chain.BlockView, "block", height=last_height).header.id
    drawn = holdout.used[0] if holdout.used else int(seed, 16) % holdout.chunk_count
    points, chunks = split.holdout[drawn], holdout_chunks(stage, split)
    if not holdout.used:
        payload = RevealHoldout(
            datanet=bytes.fromhex(datanet),
            epoch=epoch,
            chunk_index=drawn,
            salt=chunks[drawn][0],
            records=tuple(map(reference, points)),
            proof=inclusion_proof([leaf for _, leaf in chunks], drawn),
        )
        stage.do("reviewer1", payload, points)
        stage.say(f"epoch {epoch}'s last block drew chunk {drawn}; a reviewer reveals its {len(points)} points")
    materials = {**trained.materials, **{sha256(point): point for point in points}}
    request = GateRequest(model=trained.prepared.model, holdout=tuple(map(sha256, points)))
    result = compute(request, materials, trained.prepared)
    measured = measure_claim(bytes.fromhex(trained.model_id), result, trained.snapshot)
    stage.wait_until(lambda: send_measure(stage, measured), "the revealed chunk is old enough")
    model = stage.model(trained.model_id)
    stage.say(
        f"measured on the holdout: {result.correct} of {len(points)} right, {result.baseline} by a constant answer; "
        f"minting times {model.eligibility_bps / 100:.2f} %, {len(model.blocked)} harmful records kept out"
    )


def ask(stage: Stage, split: Split, model_id: str) -> None:
    """Users pay for the held-out patients' answers."""
    stage.wait_for_age(stage.model(model_id).changed_height)
    asked = {question.query for question in stage.questions(model_id)}
    waiting = [patient for patient in split.patients if sha256(patient.query).hex() not in asked]
    for number, patient in enumerate(waiting):
        payload = Ask(model=bytes.fromhex(model_id), query=reference(patient.query), fee_units=PRICE_UNITS)
        key = stage.devnet.accounts[f"user{number % 2 + 1}"]
        stage.clients[number % 2].send(key, payload, blobs=(patient.query,))
    expected = len(split.patients)
    stage.wait_until(lambda: len(stage.questions(model_id)) == expected, "every question is asked")
    if waiting:
        stage.say(f"two users ask for {expected} held-out patients' answers, {format_open(PRICE_UNITS)} each")


def answer(stage: Stage, split: Split, trained: Trained) -> None:
    """The attributor answers; every validator recomputes answers and influences before it votes."""
    waiting = [question for question in stage.questions(trained.model_id) if question.status == "open"]
    for batch in batches(waiting, ANSWERS_AT_ONCE):
        stage.wait_for_age(max(question.asked_height for question in batch))
        done = stage.do("attributor", claim_of(stage, split, trained, batch))
        stage.say(f"the attributor answers {len(batch)} questions, recomputed by all validators: block {done.height}")


def claim(stage: Stage) -> None:
    """After the epoch, whoever earned something takes it."""
    everyone = [key for name, key in stage.devnet.accounts.items() if not name.startswith("bench")]
    claimed_units = 0
    for key in (*everyone, *stage.devnet.operators):
        address = format_address(key.address)
        for earning in stage.client.account(address).earnings:
            stage.wait_until(partial(is_over, stage, address, earning.epoch), f"epoch {earning.epoch} ends")
            done = stage.client.submit_and_wait(key, Claim(epoch=earning.epoch), timeout_s=STEP_TIMEOUT_S)
            claimed_units += sum(int(each.payload["minted_units"]) for each in done.events if each.name == "claimed")
    if claimed_units:
        stage.say(f"the epoch is over: everyone claims what was minted for them, {format_open(claimed_units)}")


def release(stage: Stage, datanet: str) -> None:
    """What the records earned has vested: the curator has it paid out to their contributors."""
    earning = [each for each in stage.records(datanet) if each.vesting]
    for batch in batches(earning, RELEASED_AT_ONCE):
        last_epoch = max(part.epoch for each in batch for part in each.vesting)
        length = stage.devnet.genesis.parameters.epoch_length_heights
        vesting_epochs = stage.devnet.genesis.parameters.vesting_epochs
        stage.client.wait_for_height((last_epoch + vesting_epochs - 1) * length, timeout_s=STEP_TIMEOUT_S)
        payload = ReleaseEarnings(
            datanet=bytes.fromhex(datanet), records=tuple(bytes.fromhex(each.content) for each in batch)
        )
        done = stage.do("curator", payload)
        units = sum(int(each.payload["amount_units"]) for each in done.events if each.name == "earnings_released")
        stage.say(f"what {len(batch)} records earned has vested: {format_open(units)} go to their contributors")


def have_a_lie_nullified(stage: Stage, false_claim: Attribute) -> None:
    """One validator proposes a block with a false claim: nobody votes for it, and the chain goes on."""
    what = "block with a false claim"
    if stage.is_refused(what):
        return
    liar = stage.devnet.nodes[-1]
    data = stage.client.sign(stage.devnet.accounts["forger1"], false_claim)
    (liar.home / LIED_FILE).unlink(missing_ok=True)
    stage.launcher.stop(liar)
    (liar.home / LIE_FILE).write_text(data.hex())
    stage.launcher.start(liar, program="devnet.faults")
    stage.launcher.wait_until_up(liar)
    stage.wait_until((liar.home / LIED_FILE).exists, f"{liar.name} proposes its lie")
    told = json.loads((liar.home / LIED_FILE).read_text())
    stage.launcher.stop(liar)
    stage.launcher.start(liar)
    stage.launcher.wait_until_up(liar)
    height = stage.client.height() + 3
    for client in stage.clients:
        client.wait_for_height(height, timeout_s=STEP_TIMEOUT_S)
        recent = client.get(views.Page[views_chain.BlockSummary], "/blocks", limit=100).items
        if (told["epoch"], told["view"]) in {(each.epoch, each.view) for each in recent}:
            raise StoryError("the lie became a block")
    message = f"view {told['view']} of epoch {told['epoch']} was nullified; the chain goes on at height {height}"
    stage.note_refusal(Refusal(what, "nullified", message))
    stage.say(f"{liar.name}, told to lie, proposes a block with the false claim: {message}")


# Helpers.


def holdout_chunks(stage: Stage, split: Split) -> list[tuple[bytes, bytes]]:
    """Salt and leaf of each chunk; the salt is the reviewers' secret."""
    secret = stage.devnet.accounts["reviewer1"].seed
    salts = [sha256(b"salt %d " % index + secret) for index in range(len(split.holdout))]
    leaves = [chunk_leaf(salt, contents_of(points)) for salt, points in zip(salts, split.holdout, strict=True)]
    return list(zip(salts, leaves, strict=True))


def contents_of(points: Sequence[bytes]) -> tuple[bytes, ...]:
    """Content hashes of points."""
    return tuple(map(sha256, points))


def wait_for_snapshot(stage: Stage) -> int:
    """Until an epoch's snapshot holds every record, is old enough, and lasts a while; the epoch."""
    parameters = stage.devnet.genesis.parameters
    length, age = parameters.epoch_length_heights, parameters.claim_age_heights
    reviews = [each.height for each in stage.transactions(stage.address("reviewer2")) if each.kind == "review"]

    def first_height() -> int:
        return stage.client.height() // length * length + 1

    def is_good() -> bool:
        height, first = stage.client.height(), first_height()
        return first > max(reviews) and first + age - 1 <= height < first + length - LAST_HEIGHTS

    stage.wait_until(is_good, "an epoch begins with every record")
    return stage.client.height() // length + 1


def send_measure(stage: Stage, measured: MeasureModel) -> bool:
    """Sends it; False when the chunk is too young still."""
    try:
        stage.do("attributor", measured)
    except CallFailed as error:
        if error.reason != "too_young":
            raise
        return False
    return True


def is_over(stage: Stage, address: str, epoch: int) -> bool:
    """Whether what an account earned in an epoch can be claimed."""
    earnings = stage.client.account(address).earnings
    return any(each.epoch == epoch and each.is_claimable for each in earnings)
