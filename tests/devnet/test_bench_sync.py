"""Real processes over TLS: an empty node gets level with a generated chain, by its blocks and by a snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest

from devnet.bench_sync import configure, generate, join
from devnet.launcher import Launcher
from devnet.topology import open_devnet
from node.config import CONSENSUS_KEY_FILE, Home, StorageConfig

pytestmark = pytest.mark.slow
HEIGHT = 120


def test_empty_nodes_join_by_blocks_and_by_a_snapshot_over_tls(tmp_path: Path, first_port: int) -> None:
    devnet, _ = open_devnet(tmp_path / "chain", bench_accounts=4, first_port=first_port)
    logs = [Home(node.home).data / "log" / "log-00000001" for node in devnet.nodes]
    born = [path.read_bytes() for path in logs]
    generate(devnet, HEIGHT, 1, seed=1)
    source, by_blocks, by_snapshot = devnet.nodes[:3]
    configure(by_snapshot, StorageConfig(snapshot_lag_heights=50))
    with Launcher(devnet) as launcher:
        launcher.start(source)
        launcher.wait_until_up(source)
        for node in (by_blocks, by_snapshot):
            join(launcher, node, HEIGHT)
            launcher.stop(node)
    said = by_snapshot.log_file.read_text()
    for word in ("joining", "snapshot_chosen", "restarting", "starting_again", "snapshot_restored"):
        assert word in said
    assert "joining" not in by_blocks.log_file.read_text()
    assert not (by_snapshot.home / CONSENSUS_KEY_FILE).exists(), "the chain's votes are not these nodes' own"
    assert [path.read_bytes() for path in logs[1:]] == born[1:]
