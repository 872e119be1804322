"""A small real story on one node: two forms of data, three clinics, a gated model, questions, payments, erasures."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field, replace
from functools import cache

import attribution.head.request as engine
from attribution.head.fit import fit
from attribution.record import TabularSchema, encode_query, encode_record
from consensus.evidence import Evidence, find_conflict
from consensus.types import Statement, Vote, VoteKind
from node.modules.attributions import Ask, Attribute, attribution_claim, blocked_positions, current_terms
from node.modules.bonds import Bond, Unbond
from node.modules.context import BlobRef
from node.modules.datanets import DATANETS, ColumnSpec, Contribute, CreateDatanet, RejectionReason, Review, schema_of
from node.modules.erasure import EraseQuestion, EraseRecord
from node.modules.governance import Propose, SetParameter
from node.modules.holdouts import HOLDOUTS, CommitHoldout, RevealHoldout, chunk_leaf, drawn_chunk
from node.modules.models import (
    MODELS,
    CertificateClaim,
    RegisterModel,
    TransferModel,
    engine_model,
    measure_claim,
)
from node.modules.rewards import Claim
from node.modules.validators import GOVERNING
from node.payloads import Transfer
from node.primitives.amount import UNITS_PER_OPEN
from node.primitives.crypto import ZERO_HASH, PrivateKey
from node.primitives.merkle import inclusion_proof, merkle_root
from node.types.genesis import Role
from node.types.parameters import Parameters
from node.types.signed import vote_digest
from node.worker import compute_here
from tests.factories import Chain, make_chain
from tests.node.api.host import Disk, Node

OPEN = UNITS_PER_OPEN
DAMPING = 1 << 17
PRICE_UNITS = OPEN
BOUND = 10_000
SALT = bytes(31) + b"\x01"

PARAMETERS = Parameters(epoch_length_heights=25, claim_age_heights=1, holdout_reveal_heights=60)
PEOPLE = {
    "curator": Role.CURATOR,
    "reviewer": Role.REVIEWER,
    "clinic a": Role.CONTRIBUTOR,
    "clinic b": Role.CONTRIBUTOR,
    "clinic c": Role.CONTRIBUTOR,
    "developer": Role.DEVELOPER | Role.ATTRIBUTOR,
    "heir": Role.DEVELOPER,
    "asker": Role(0),
    "stranger": Role(0),
}


def story_chain(parameters: Parameters = PARAMETERS) -> Chain:
    """The genesis the story begins with."""
    return make_chain(powers=(1,), users=2, parameters=parameters, people={name: int(r) for name, r in PEOPLE.items()})


@dataclass
class Story:
    """What is left of it: a node's disk, and the ids of what happened."""

    chain: Chain
    disk: Disk
    height: int = 0
    datanet: bytes = b""
    empty_datanet: bytes = b""
    model: bytes = b""
    accepted: dict[str, bytes] = field(default_factory=dict)
    rejected: bytes = b""
    pending: bytes = b""
    records: dict[str, list[bytes]] = field(default_factory=dict)
    rejected_record: bytes = b""
    restricted_record: bytes = b""
    erased_record: bytes = b""
    questions: list[bytes] = field(default_factory=list)
    open_question: bytes = b""
    erased_question: bytes = b""
    erased_query: bytes = b""
    answers: bytes = b""
    proposal: bytes = b""
    failed: bytes = b""
    first_transfer: bytes = b""
    uploaded: bytes = b""


def make_points(seed: int, count: int) -> list[tuple[int, list[int]]]:
    """Labelled points around two centres, the classes in turn."""
    drawn = random.Random(seed)
    centres = ((-200, 100), (200, -100))
    return [(place % 2, [round(drawn.gauss(centre, 120)) for centre in centres[place % 2]]) for place in range(count)]


async def play() -> Story:
    """The story from genesis to its end."""
    chain = story_chain()
    node = Node(chain)
    assert node.index is not None
    node.index.catch_up()
    node.replica.start()
    story = Story(chain, node.disk)
    people = chain.people
    await _prepare(node, story)
    schema = schema_of(DATANETS.need(node.replica.state, story.datanet))
    await _contribute(node, story, schema)
    points = [encode_record(schema, label, values) for label, values in make_points(9, 64)]
    holdout = [BlobRef(hash=node.put(each), size_bytes=len(each)) for each in points]
    leaf = chunk_leaf(SALT, tuple(each.hash for each in holdout))
    commitment = CommitHoldout(datanet=story.datanet, root=merkle_root([leaf]), chunk_count=1)
    await node.order(people["reviewer"], commitment)
    await _next_epoch(node)
    await _register(node, story, schema)
    epoch = node.replica.engine.core.epoch
    await _next_epoch(node)
    drawn = drawn_chunk(node.replica.state, HOLDOUTS.need(node.replica.state, story.datanet), epoch)
    reveal = RevealHoldout(
        datanet=story.datanet,
        epoch=epoch,
        chunk_index=drawn,
        salt=SALT,
        records=tuple(holdout),
        proof=inclusion_proof([leaf], 0),
    )
    await node.order(people["reviewer"], reveal)
    await node.mine()
    await _measure(node, story, tuple(each.hash for each in holdout))
    await node.mine()
    await _ask_and_answer(node, story, schema)
    await _close(node, story)
    story.height = node.height
    node.api._source.close()
    return story


@cache
def tell() -> Story:
    """The story, played once: not to be changed."""
    return asyncio.run(play())


def retell() -> Story:
    """The story on a disk of its own."""
    told = tell()
    return replace(told, disk=told.disk.copy())


async def _prepare(node: Node, story: Story) -> None:
    people, chain = story.chain.people, story.chain
    story.first_transfer = await _id(node, chain.users[0], Transfer(recipient=chain.users[1].address, amount_units=5))
    story.failed = (
        await node.attempt(chain.users[1], Transfer(recipient=chain.users[0].address, amount_units=10**17))
    ).transaction_id
    await node.order(people["developer"], Bond(amount_units=2_000 * OPEN))
    await node.order(people["developer"], Unbond(amount_units=100 * OPEN))
    create = CreateDatanet(
        name="Biopsies",
        licence="CC BY 4.0",
        columns=tuple(ColumnSpec(name=n, decimals=2, minimum=-BOUND, maximum=BOUND) for n in ("radius", "texture")),
        classes=("benign", "malignant"),
        dampings=(DAMPING,),
        reviewers=(people["reviewer"].address,),
        review_quorum=1,
    )
    story.datanet = await _id(node, people["curator"], create)
    other = CreateDatanet(
        name="Bioassays",
        licence="CC0",
        columns=(ColumnSpec(name="titre", decimals=0, minimum=0, maximum=9),),
        classes=("no", "yes"),
        dampings=(DAMPING,),
        reviewers=(people["reviewer"].address,),
        review_quorum=1,
    )
    story.empty_datanet = await _id(node, people["curator"], other)
    await node.mine()


async def _contribute(node: Node, story: Story, schema: TabularSchema) -> None:
    people = story.chain.people
    accept = RejectionReason.NONE
    for number, name in enumerate(("clinic a", "clinic b", "clinic c")):
        contents = [encode_record(schema, label, values) for label, values in make_points(number, 16)]
        if name == "clinic b":  # one record twice, one that clinic a has already
            contents += [contents[0], encode_record(schema, *make_points(0, 1)[0])]
        story.records[name] = [node.put(each) for each in dict.fromkeys(contents)]
        references = tuple(BlobRef(hash=node.put(each), size_bytes=len(each)) for each in contents)
        offered = await _id(node, people[name], Contribute(datanet=story.datanet, records=references))
        story.accepted[name] = offered
        await node.order(people["reviewer"], Review(contribution=offered, is_accepted=True, reason=accept))
    story.records["clinic b"].pop()
    for number, verdict in ((1_000, RejectionReason.WRONG_LABELS), (1_001, None), (1_002, None)):
        content = encode_record(schema, 0, [number, number])
        reference = BlobRef(hash=node.put(content), size_bytes=len(content))
        offered = await _id(node, people["clinic a"], Contribute(datanet=story.datanet, records=(reference,)))
        if verdict is not None:
            review = Review(contribution=offered, is_accepted=False, reason=verdict)
            await node.order(people["reviewer"], review)
            story.rejected, story.rejected_record = offered, reference.hash
        elif not story.pending:
            story.pending, story.restricted_record = offered, reference.hash
        else:
            story.erased_record = reference.hash
            await node.order(people["clinic a"], EraseRecord(datanet=story.datanet, content=reference.hash))


async def _register(node: Node, story: Story, schema: TabularSchema) -> None:
    records = tuple(each for name in ("clinic a", "clinic b", "clinic c") for each in story.records[name])
    problem = engine.Problem(engine="head/1", schema=schema, damping=DAMPING, records=records)
    materials = {name: _content(node, name) for name in records}
    posted = fit(problem, materials)
    weights, inverse = node.put(posted.weights), node.put(posted.inverse)
    materials |= {weights: posted.weights, inverse: posted.inverse}
    model = engine.Model(problem=problem, weights=weights, inverse=inverse)
    certificate = compute_here(engine.CertifyRequest(model=model), materials)
    assert isinstance(certificate, engine.Certificate)
    register = RegisterModel(
        model=ZERO_HASH,
        name="Biopsy reader",
        datanet=story.datanet,
        engine="head/1",
        damping=DAMPING,
        weights=BlobRef(hash=weights, size_bytes=len(posted.weights)),
        inverse=BlobRef(hash=inverse, size_bytes=len(posted.inverse)),
        certificate=CertificateClaim(
            record_count=certificate.record_count,
            gradient_norm=certificate.gradient_norm,
            inverse_residual=certificate.inverse_residual,
        ),
        snapshot_epoch=node.replica.engine.core.epoch,
        price_units=PRICE_UNITS,
    )
    await node.mine()
    story.model = await _id(node, story.chain.people["developer"], register)


async def _measure(node: Node, story: Story, holdout: tuple[bytes, ...]) -> None:
    subject, snapshot = _subject(node, story)
    request = engine.GateRequest(model=subject, holdout=holdout)
    result = compute_here(request, node._held_materials(request))
    assert isinstance(result, engine.GateResult)
    await node.order(story.chain.people["developer"], measure_claim(story.model, result, snapshot))


async def _ask_and_answer(node: Node, story: Story, schema: TabularSchema) -> None:
    asker = story.chain.people["asker"]
    for number, (_, values) in enumerate(make_points(77, 5)):
        query = encode_query(schema, values)
        reference = BlobRef(hash=node.put(query), size_bytes=len(query))
        asked = await _id(node, asker, Ask(model=story.model, query=reference, fee_units=(2 + number) * OPEN))
        if number < 3:
            story.questions.append(asked)
        elif number == 3:
            story.open_question = asked
        else:
            story.erased_question, story.erased_query = asked, reference.hash
            await node.order(asker, EraseQuestion(question=asked))
    await node.mine()
    claim = attribute(node, story, story.questions)
    story.answers = await _id(node, story.chain.people["developer"], claim)


async def _close(node: Node, story: Story) -> None:
    people = story.chain.people
    change = SetParameter(name="fee_base_units", value=10_001)
    story.proposal = await _id(node, story.chain.operators[0], Propose(action=change))
    await node.order(people["developer"], TransferModel(model=story.model, new_owner=people["heir"].address))
    epoch = node.replica.engine.core.epoch
    await _next_epoch(node)
    await node.order(people["clinic b"], Claim(epoch=epoch))
    await node.mine()
    story.uploaded = node.put(b"nobody refers to this")


def attribute(node: Node, story: Story, questions: list[bytes]) -> Attribute:
    """The claim that answers some questions."""
    from node.modules.attributions import QUESTIONS

    subject, snapshot = _subject(node, story)
    state = node.replica.state
    queries = tuple(QUESTIONS.need(state, each).query for each in questions)
    request = engine.AttributeRequest(model=subject, queries=queries)
    result = compute_here(request, node._held_materials(request))
    assert isinstance(result, engine.AttributeResult)
    blocked = blocked_positions(state, story.model)
    terms = current_terms(state, story.chain.genesis.parameters, story.model, GOVERNING.get(state).epoch)
    return attribution_claim(terms, snapshot, blocked, story.model, questions, result)


def equivocation(chain: Chain, view: int = 3) -> Evidence:
    """Two votes of the only validator that contradict each other."""
    key = chain.consensus_keys[0]
    votes = []
    for number in (1, 2):
        statement = Statement(kind=VoteKind.NOTARIZE, epoch=1, view=view, block_id=bytes([number]) * 32)
        signature = key.sign(vote_digest(chain.genesis_hash, statement))
        votes.append(Vote(statement=statement, validator=key.address, signature=signature))
    found = find_conflict(*votes)
    assert found is not None
    return found


def _subject(node: Node, story: Story) -> tuple[engine.Model, object]:
    state = node.replica.state
    return engine_model(state, story.model, MODELS.need(state, story.model), node.replica.claims)


def _content(node: Node, name: bytes) -> bytes:
    content = node.replica.blobs.get(name)
    assert content is not None
    return content


async def _id(node: Node, key: PrivateKey, payload: object) -> bytes:
    return (await node.order(key, payload)).transaction_id


async def _next_epoch(node: Node) -> None:
    epoch = node.replica.engine.core.epoch
    while node.replica.engine.core.epoch == epoch:
        await node.mine()
    await node.mine()  # the first block keeps the seed of the epoch before
