"""Where this node stands in consensus: gathered from the replica, explained by `node.api.explanation`."""

from __future__ import annotations

from collections.abc import Sequence

from consensus.types import VoteKind
from node.api import present, requests, views_consensus
from node.api.explanation import WORD, Standing, explain, needed_power
from node.api.source import Source
from node.config import RESERVE_SIZE_BYTES
from node.modules.context import BlobPending, Pending, ResultPending
from node.modules.validators import GOVERNING, REGISTRY
from node.proposal import BlobsPending, ParentPending, TimePending


def consensus_state(source: Source, _: requests.NoParameters) -> views_consensus.ConsensusStateView:
    """Why there is, or is no block."""
    standing = find_standing(source)
    snapshot, explanation = standing.snapshot, explain(standing)
    needed = needed_power(sum(snapshot.powers.values()))
    members = GOVERNING.get(source.replica.state).validators.by_id()
    absent = set(source.replica.engine.core.absent)
    return views_consensus.ConsensusStateView(
        situation=explanation.situation.value,
        conclusion=explanation.conclusion,
        sentences=list(explanation.sentences),
        height=standing.height,
        seconds_since_final=round(standing.seconds_since_final, 3),
        epoch=snapshot.epoch,
        view=snapshot.view,
        view_age_ms=standing.now_ms - snapshot.entered_ms,
        leader=snapshot.leader.hex(),
        delta_ms=snapshot.delta_ms,
        is_proposed=snapshot.is_proposed,
        verdict=None if snapshot.verdict is None else snapshot.verdict.value,
        votes={
            WORD[kind]: views_consensus.VoteCount(
                power=sum(snapshot.powers[each] for each in voters), needed_power=needed
            )
            for kind, voters in snapshot.voters.items()
        },
        certificates=[WORD[kind] for kind in snapshot.certificates],
        entered_by=None if snapshot.entered_by is None else WORD[snapshot.entered_by],
        lacking_view=snapshot.lacking_view,
        final_view=snapshot.final_view,
        notarized_view=snapshot.notarized_view,
        waits=list(standing.waits),
        validators=[
            views_consensus.MemberView(
                id=each.hex(),
                operator=present.format_address(members[each].operator) if each in members else "",
                name=standing.names.get(each, ""),
                power=power,
                is_connected=each in standing.reachable,
                is_absent=each in absent,
                votes=[WORD[kind] for kind in VoteKind if each in snapshot.voters[kind]],
            )
            for each, power in sorted(snapshot.powers.items())
        ],
        peer_count=standing.peer_count,
        ready_transactions=standing.ready_transactions,
    )


def find_standing(source: Source) -> Standing:
    """Everything the explanation is made from, as it is now."""
    replica, engine = source.replica, source.replica.engine
    free_bytes = source.free_bytes()
    return Standing(
        snapshot=engine.core.snapshot(),
        now_ms=replica.host.monotonic_ms(),
        height=source.tip_height,
        seconds_since_final=source.seconds_since_final(),
        patience_s=source.patience_s(),
        names=_names(source),
        reachable=source.reachable(),
        peer_count=len(source.peers.peers()),
        lag_heights=replica.lag_heights,
        is_catching_up=source.is_catching_up,
        waits=_waits(engine.waits_for),
        ready_transactions=replica.mempool.ready_count,
        halted_why=engine.stopped_why if engine.is_stopped else None,
        is_disk_full=replica.paused_for is not None or (free_bytes is not None and free_bytes < RESERVE_SIZE_BYTES),
    )


def _names(source: Source) -> dict[bytes, str]:
    """What people call the current validators: their nodes' names."""
    state = source.replica.state
    known = {each.operator: each.node.name for each in REGISTRY.get(state).candidates}
    found = {each.id: known.get(each.operator, "") for each in GOVERNING.get(state).validators.validators}
    twins = {name for name in found.values() if list(found.values()).count(name) > 1}
    return {each: f"{name} ({each.hex()[:8]})" if name in twins else name for each, name in found.items()}


def _waits(pending: Sequence[Pending]) -> list[str]:
    """In words; the same thing is said once."""
    return list(dict.fromkeys(map(_words, pending)))


def _words(pending: Pending) -> str:
    match pending:
        case ParentPending(block_id=block_id):
            return f"the body of block {block_id.hex()[:12]}"
        case BlobsPending(hashes=hashes):
            return f"{len(hashes)} contents, the first is {hashes[0].hex()[:12]}"
        case BlobPending(blob_hash=blob_hash):
            return f"the content {blob_hash.hex()[:12]}"
        case ResultPending():
            return "the attribution that a transaction claims, which this node computes itself"
        case TimePending(time_ms=time_ms):
            return f"its clock to reach the block's time ({time_ms} ms since 1970)"
        case _:
            return str(pending)
