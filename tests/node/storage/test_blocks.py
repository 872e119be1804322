"""Final blocks: found by height and id, with receipts, and with the chain of headers that makes them final."""

from __future__ import annotations

from dataclasses import replace

from consensus.types import Certificate, Statement, VoteKind, VoteSignature
from node.primitives.codec import decode, encode
from node.primitives.merkle import merkle_root
from node.storage.blocks import MOST_PROOF_HEADERS, BlockStore, block_changes
from node.storage.kv import MemoryStore
from node.storage.schema import Column, Meta, Prefix, column_key, height_key
from node.types.block import Block, FinalityProof, Header
from node.types.receipt import Receipt
from tests.node.samples import digest, sample


def certify(block: Block, view: int) -> Certificate:
    statement = Statement(kind=VoteKind.FINALIZE, epoch=1, view=view, block_id=block.header.id())
    return Certificate(statement=statement, signatures=(VoteSignature(validator=bytes(20), signature=bytes(64)),))


def make_blocks(count: int) -> list[Block]:
    blocks: list[Block] = []
    for height in range(count):
        transactions = tuple(digest(f"transaction {height} {index}") for index in range(height % 3))
        parent_id = blocks[-1].header.id() if blocks else bytes(32)
        header = replace(
            sample(Header), height=height, parent_id=parent_id, transactions_root=merkle_root(transactions)
        )
        blocks.append(Block(header=header, transactions=transactions))
    return blocks


def store_blocks(blocks: list[Block], certified: set[int]) -> BlockStore:
    store = MemoryStore()
    for block in blocks:
        height = block.header.height
        receipts = tuple(
            Receipt(transaction_id=digest(f"{height} {index}"), failure="", fee_units=index, events=())
            for index in range(height % 3)
        )
        certificate = certify(block, height) if height in certified else None
        store.write(block_changes(block, block.header.id(), receipts, certificate))
    return BlockStore(store)


def test_a_block_is_found_by_height_and_id_with_its_receipts() -> None:
    blocks = make_blocks(4)
    store = store_blocks(blocks, {2})
    for block in blocks:
        height = block.header.height
        assert store.block(height) == block
        assert store.block_bytes(height) == encode(block)
        assert store.height_of(block.header.id()) == height
        assert [receipt.fee_units for receipt in store.receipts(height) or ()] == list(range(height % 3))
    assert store.certificate(2) == certify(blocks[2], 2)
    assert store.certificate(1) is None


def test_what_is_not_there_is_none() -> None:
    store = store_blocks(make_blocks(2), set())
    assert (store.block(2), store.block_bytes(2), store.receipts(2), store.height_of(bytes(32))) == (None,) * 4
    assert store.finality_proof(0) is None


def check_proof(block: Block, proof: FinalityProof) -> None:
    """What anybody checks who has the block and trusts the certificate's signers."""
    block_id = block.header.id()
    for header in proof.headers:
        assert header.parent_id == block_id
        block_id = header.id()
    assert proof.certificate.statement.kind is VoteKind.FINALIZE
    assert proof.certificate.statement.block_id == block_id


def test_a_block_is_final_by_its_own_certificate_or_by_the_next_one_above() -> None:
    blocks = make_blocks(8)
    store = store_blocks(blocks, {2, 6})
    lengths = {}
    for height in range(7):
        proof = store.finality_proof(height)
        assert proof is not None
        check_proof(blocks[height], proof)
        lengths[height] = len(proof.headers)
        assert decode(FinalityProof, encode(proof)) == proof
    assert lengths == {0: 2, 1: 1, 2: 0, 3: 3, 4: 2, 5: 1, 6: 0}
    assert store.finality_proof(7) is None


def test_a_proof_reaches_as_far_as_one_may_be_long() -> None:
    blocks = make_blocks(MOST_PROOF_HEADERS + 2)
    store = store_blocks(blocks, {MOST_PROOF_HEADERS + 1})
    proof = store.finality_proof(1)
    assert proof is not None
    assert len(proof.headers) == MOST_PROOF_HEADERS
    assert decode(FinalityProof, encode(proof)) == proof
    check_proof(blocks[1], proof)
    assert store.finality_proof(0) is None


def test_there_is_no_proof_through_a_block_that_is_gone() -> None:
    blocks = make_blocks(3)
    store = store_blocks([blocks[0], blocks[2]], {2})
    assert store.finality_proof(0) is None
    assert store.finality_proof(2) is not None


def test_no_two_things_share_a_key() -> None:
    assert all(0 < column < 256 for column in Column)
    assert all(0 < prefix < 256 for prefix in Prefix)
    for table in (Column, Meta, Prefix):
        assert len({int(member) for member in table}) == len(table.__members__)
    assert column_key(Column.BLOCK, height_key(258)) == b"\x03\x00\x00\x00\x00\x00\x00\x01\x02"
    assert height_key(255) < height_key(256) < height_key(2**40)
