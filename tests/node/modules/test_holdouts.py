"""Holdouts: committed by a quorum, drawn by a block's id, revealed once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.errors import TransactionReason
from node.modules.contents import CONTENTS
from node.modules.datanets import RECORDS, Contribute, DuplicateRejected, RecordStatus
from node.modules.holdouts import (
    EPOCH_SEEDS,
    HOLDOUTS,
    REVEALED,
    SEED_EPOCHS,
    CommitHoldout,
    EpochSeed,
    Holdout,
    HoldoutCommitted,
    HoldoutRevealed,
    Revealed,
    RevealHoldout,
)
from node.modules.validators import epoch_key
from node.primitives.crypto import ZERO_HASH, sha256
from tests.node.modules.scenes import (
    PARAMETERS,
    Scene,
    accepted_scene,
    committed_scene,
    datanet_payload,
    datanet_scene,
    genesis_scene,
    revealed_scene,
)

NOT_ADMISSIBLE = TransactionReason.NOT_ADMISSIBLE


def drawn_by_hand(scene: Scene, epoch: int, unused: list[int]) -> int:
    """The draw as the design says it: the id of the epoch's last block, over the unused chunks."""
    last = max((block for block in scene.ledger.blocks if block.header.epoch == epoch), key=lambda b: b.header.height)
    return unused[int.from_bytes(last.header.id(), "big") % len(unused)]


def test_a_commitment_counts_once_the_quorum_sent_the_same() -> None:
    scene = accepted_scene()
    payload = scene.commitment()
    scene.ledger.do(scene.reviewers[1], payload)
    waiting = Holdout(
        root=payload.root,
        chunk_count=2,
        approved_by=(scene.reviewers[1].address,),
        committed_height=0,
        used=(),
    )
    assert HOLDOUTS.need(scene.ledger.state, scene.datanet) == waiting
    assert not waiting.is_usable
    scene.ledger.do(scene.reviewers[0], payload)
    assert HOLDOUTS.need(scene.ledger.state, scene.datanet) == replace(
        waiting,
        approved_by=(scene.reviewers[1].address, scene.reviewers[0].address),
        committed_height=scene.ledger.height,
    )
    assert scene.ledger.events(HoldoutCommitted) == [
        HoldoutCommitted(
            datanet=scene.datanet, reviewer=scene.reviewers[index].address, root=payload.root, is_quorum=is_quorum
        )
        for index, is_quorum in ((1, False), (0, True))
    ]


def test_another_root_or_count_starts_the_count_again() -> None:
    scene = accepted_scene()
    payload = scene.commitment()
    scene.ledger.do(scene.reviewers[0], payload)
    scene.ledger.do(scene.reviewers[1], replace(payload, chunk_count=3))
    holdout = HOLDOUTS.need(scene.ledger.state, scene.datanet)
    assert (holdout.approved_by, holdout.committed_height) == ((scene.reviewers[1].address,), 0)


def test_a_reviewer_commits_once_and_nobody_else_does() -> None:
    scene = accepted_scene()
    payload = scene.commitment()
    scene.ledger.do(scene.reviewers[0], payload)
    scene.ledger.fails(scene.reviewers[0], payload, TransactionReason.ALREADY_DONE, "one commitment each")
    scene.ledger.fails(scene.who("developer"), payload, TransactionReason.NOT_REVIEWER)
    unknown = CommitHoldout(datanet=ZERO_HASH, root=ZERO_HASH, chunk_count=1)
    scene.ledger.fails(scene.reviewers[0], unknown, TransactionReason.NOT_FOUND, "no datanet " + "00" * 32)


def test_a_committed_holdout_with_chunks_left_stays() -> None:
    scene = committed_scene()
    scene.ledger.fails(
        scene.reviewers[2],
        replace(scene.commitment(), chunk_count=1),
        TransactionReason.ALREADY_EXISTS,
        "the committed holdout has chunks left",
    )


def test_the_first_block_of_an_epoch_keeps_the_id_of_the_last_ones_last_block() -> None:
    scene = genesis_scene()
    scene.ledger.next_epoch()
    assert EPOCH_SEEDS.get(scene.ledger.state, epoch_key(1)) is None
    last = scene.ledger.tip.id()
    scene.ledger.add_block()
    assert EPOCH_SEEDS.get(scene.ledger.state, epoch_key(1)) == EpochSeed(block_id=last)


def test_seeds_are_kept_for_their_epochs() -> None:
    scene = genesis_scene(replace(PARAMETERS, epoch_length_heights=4))
    for _ in range(SEED_EPOCHS + 1):
        scene.ledger.next_epoch()
    scene.ledger.add_block()
    kept = [epoch for epoch in range(1, 70) if EPOCH_SEEDS.get(scene.ledger.state, epoch_key(epoch)) is not None]
    assert kept == list(range(2, SEED_EPOCHS + 2))


def test_the_reveal_is_the_drawn_chunk_and_its_points_are_never_records() -> None:
    scene = revealed_scene()
    epoch = scene.ledger.epoch - 1
    drawn = drawn_by_hand(scene, epoch, [0, 1])
    contents = tuple(sha256(content) for content in scene.chunks[drawn])
    key = scene.datanet + epoch_key(epoch)
    holdout = HOLDOUTS.need(scene.ledger.state, scene.datanet)
    assert REVEALED.need(scene.ledger.state, key) == Revealed(
        records=contents, committed_height=holdout.committed_height, height=scene.ledger.height
    )
    assert holdout.used == (drawn,)
    assert scene.ledger.last(HoldoutRevealed) == HoldoutRevealed(
        datanet=scene.datanet, epoch=epoch, chunk_index=drawn, record_count=len(contents)
    )
    point = RECORDS.need(scene.ledger.state, scene.schema.id() + contents[3])
    assert (point.status, point.index) == (RecordStatus.HOLDOUT, 3)
    assert CONTENTS.need(scene.ledger.state, contents[3]).uses == 1
    scene.ledger.do(scene.who("ann"), Contribute(datanet=scene.datanet, records=(scene.put(scene.chunks[drawn][3]),)))
    assert scene.ledger.last(DuplicateRejected).content == contents[3]


def test_a_point_that_is_a_record_already_stays_its_contributors() -> None:
    scene = committed_scene()
    scene.ledger.next_epoch()
    scene.ledger.add_block()
    payload = scene.reveal(1)
    mine = payload.records[0]
    scene.contribute("ann", mine)
    scene.ledger.do(scene.reviewers[0], payload)
    record = RECORDS.need(scene.ledger.state, scene.schema.id() + mine.hash)
    assert (record.status, record.contributor) == (RecordStatus.PENDING, scene.who("ann").address)
    assert CONTENTS.need(scene.ledger.state, mine.hash).uses == 2


def test_a_second_epoch_draws_among_what_is_left_and_then_a_new_holdout_may_come() -> None:
    scene = revealed_scene()
    first = HOLDOUTS.need(scene.ledger.state, scene.datanet).used[0]
    scene.ledger.do(scene.reviewers[1], scene.reveal(1))
    assert HOLDOUTS.need(scene.ledger.state, scene.datanet).used == (0, 1)
    assert scene.ledger.last(HoldoutRevealed).chunk_index == 1 - first
    scene.ledger.next_epoch()
    scene.ledger.add_block()
    payload = replace(_spent(scene), epoch=scene.ledger.epoch - 1)
    scene.ledger.fails(scene.reviewers[0], payload, TransactionReason.WRONG_STATUS, "no committed chunk is left")
    scene.chunks = (scene.chunks[0][:5], scene.chunks[1][:5])
    scene.ledger.do(scene.reviewers[0], scene.commitment())
    holdout = HOLDOUTS.need(scene.ledger.state, scene.datanet)
    assert (holdout.approved_by, holdout.used) == ((scene.reviewers[0].address,), ())


def test_a_holdout_that_was_revealed_never_measures_again() -> None:
    """Not even when the one reviewer who had not committed to it before sends it once more."""
    scene = revealed_scene()
    scene.ledger.do(scene.reviewers[1], scene.reveal(1))
    spent = HOLDOUTS.need(scene.ledger.state, scene.datanet)
    assert spent.used == (0, 1)
    again = scene.commitment()
    for payload in (again, replace(again, chunk_count=3)):
        for reviewer in scene.reviewers:
            scene.ledger.fails(
                reviewer,
                payload,
                TransactionReason.ALREADY_DONE,
                "its chunks are revealed: everybody could train on them",
            )
    assert HOLDOUTS.need(scene.ledger.state, scene.datanet) == spent


def _spent(scene: Scene) -> RevealHoldout:
    """A reveal that was drawn before."""
    fresh = committed_scene()
    fresh.ledger.next_epoch()
    fresh.ledger.add_block()
    return replace(fresh.reveal(2), datanet=scene.datanet)


@pytest.fixture(name="drawn")
def drawn_fixture() -> Scene:
    """The epoch of the commitment is over: its chunk is drawn."""
    scene = committed_scene()
    scene.ledger.next_epoch()
    scene.ledger.add_block()
    return scene


def test_an_epoch_that_has_not_ended_has_no_draw(drawn: Scene) -> None:
    payload = replace(drawn.reveal(2), epoch=3)
    drawn.ledger.fails(drawn.reviewers[0], payload, TransactionReason.NOT_YET, "epoch 3 has not ended")


def test_an_epoch_is_revealed_once() -> None:
    scene = revealed_scene()
    payload = scene.reveal(2)
    scene.ledger.fails(scene.reviewers[0], payload, TransactionReason.ALREADY_DONE, "this epoch's chunk is revealed")


def test_an_epoch_whose_seed_is_forgotten_is_too_old() -> None:
    scene = committed_scene(replace(PARAMETERS, epoch_length_heights=4, claim_age_heights=1))
    scene.ledger.next_epoch()
    scene.ledger.add_block()
    payload = scene.reveal(1)
    while EPOCH_SEEDS.get(scene.ledger.state, epoch_key(1)) is not None:
        scene.ledger.next_epoch()
    scene.ledger.add_block()
    scene.ledger.fails(
        scene.reviewers[0],
        payload,
        TransactionReason.TOO_OLD,
        "the epoch is too long ago, or has not ended",
    )


def test_only_the_drawn_chunk_as_it_was_committed_is_revealed(drawn: Scene) -> None:
    good = drawn.reveal(2)
    drawn_index = drawn_by_hand(drawn, 2, [0, 1])
    assert good.chunk_index == drawn_index
    other = 1 - drawn_index
    wrong_chunk = replace(good, chunk_index=other)
    drawn.ledger.fails(drawn.reviewers[0], wrong_chunk, NOT_ADMISSIBLE, f"the draw is chunk {drawn_index}")
    swapped = (good.records[1], good.records[0], *good.records[2:])
    for changed in (
        replace(good, salt=ZERO_HASH),
        replace(good, records=good.records[:-1]),
        replace(good, records=swapped),
        replace(good, proof=()),
        replace(good, proof=(*good.proof, ZERO_HASH)),
        replace(good, proof=(ZERO_HASH,)),
    ):
        drawn.ledger.fails(drawn.reviewers[0], changed, NOT_ADMISSIBLE, "the chunk is not what was committed to")
    drawn.ledger.do(drawn.reviewers[0], good)


def test_only_reviewers_reveal(drawn: Scene) -> None:
    drawn.ledger.fails(drawn.who("developer"), drawn.reveal(2), TransactionReason.NOT_REVIEWER)


def test_without_a_commitment_there_is_nothing_to_reveal(drawn: Scene) -> None:
    payload = drawn.reveal(2)
    scene = accepted_scene()
    scene.ledger.shelf.contents.update(drawn.ledger.shelf.contents)
    scene.ledger.next_epoch()
    scene.ledger.fails(
        scene.reviewers[0],
        replace(payload, epoch=1),
        TransactionReason.NOT_FOUND,
        f"no holdout {scene.datanet.hex()}",
    )


def test_a_point_of_another_form_makes_its_block_invalid(drawn: Scene) -> None:
    payload = drawn.reveal(2)
    broken = replace(payload, records=(drawn.put(b"too short"), *payload.records[1:]))
    detail = (
        "record 0: record_wrong_size: The record's bytes are not of the size its schema fixes. "
        "(9 bytes, the schema fixes 18)"
    )
    drawn.ledger.refuses(drawn.reviewers[0], broken, TransactionReason.BAD_CONTENT, detail)


def test_a_young_datanet_reveals_nothing() -> None:
    payload = revealed_scene().reveal(1)
    scene = datanet_scene()
    young = scene.ledger.do(scene.who("curator"), datanet_payload(scene, name="young")).transaction_id
    scene.ledger.refuses(
        scene.reviewers[0],
        replace(payload, datanet=young),
        TransactionReason.TOO_YOUNG,
        f"from height {scene.ledger.height + PARAMETERS.claim_age_heights} on",
    )
