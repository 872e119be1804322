"""What `openledger doctor` finds out about a home from the outside: config, keys, clock, ports, disk, versions.

Each check gives findings, and changes nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import shutil
import socket
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from attribution.request import TABLES_HASHES
from node import __version__
from node.config import (
    CONSENSUS_KEY_FILE,
    NODE_KEY_FILE,
    REPORTER_KEY_FILE,
    RESERVE_SIZE_BYTES,
    Config,
    ConfigError,
    Home,
)
from node.modules.engines import Engines, first_engines
from node.modules.validators import Governing, Registry
from node.primitives.crypto import PrivateKey, make_node_certificate
from node.types.block import PROTOCOL_VERSION
from node.types.genesis import Genesis
from node.types.validator import node_id_of

SCARCE_FREE_BYTES = 2**30
FEW_DESCRIPTORS = 4_096
CLOCK_SAMPLES = 200
LARGEST_CLOCK_STEP_MS = 50
"""The wall clock and the monotonic one may part by so much while they are watched for some milliseconds."""


class Level(StrEnum):
    """How grave a finding is."""

    OK = "OK"
    """As it should be."""
    WARN = "WARN"
    """The node runs, but somebody should look."""
    FAIL = "FAIL"
    """The node does not run, or does harm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the diagnosis."""

    check: str
    """What was looked at."""
    level: Level
    """How it is."""
    words: str
    """What was found."""
    advice: str = ""
    """What to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What the chain's state says, from the store or from the running node."""

    height: int
    """The last final block."""
    time_ms: int
    """Its time."""
    governing: Governing
    """Who votes, and by which parameters."""
    registry: Registry
    """Who is admitted."""
    engines: Engines
    """What models may be registered with."""


def ok(check: str, words: str) -> Finding:
    """As it should be."""
    return Finding(check=check, level=Level.OK, words=words)


def warn(check: str, words: str, advice: str) -> Finding:
    """Somebody should look."""
    return Finding(check=check, level=Level.WARN, words=words, advice=advice)


def fail(check: str, words: str, advice: str) -> Finding:
    """It must not stay so."""
    return Finding(check=check, level=Level.FAIL, words=words, advice=advice)


def is_running(home: Home) -> bool:
    """Whether a process holds the lock on the data."""
    path = home.data / "LOCK"
    if not path.exists():
        return False
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def check_versions(genesis: Genesis, ledger: Ledger | None) -> Iterator[Finding]:
    """The program against what the chain needs."""
    here = f"openledger {__version__}, protocol {PROTOCOL_VERSION}, Python {sys.version.split()[0]}"
    version = genesis.version if ledger is None else ledger.governing.version
    if version > PROTOCOL_VERSION:
        yield fail("versions", f"{here}; the chain is at protocol {version}", "install a program that knows it")
    else:
        yield ok("versions", here)
    yield from check_engines(first_engines(genesis.engines) if ledger is None else ledger.engines, ledger)


def check_engines(engines: Engines, ledger: Ledger | None) -> Iterator[Finding]:
    """The chain's engines against those of this program; one that is not active yet is a warning."""
    next_height = 1 if ledger is None else ledger.height + 1
    for engine in engines.engines:
        if TABLES_HASHES.get(engine.name) == engine.tables_hash:
            yield ok("engines", f"{engine.name} has tables {engine.tables_hash.hex()[:16]}, as the chain says")
        elif engine.from_height > next_height:
            advice = "install a program that knows it before, or the node stops there"
            yield warn("engines", f"{engine.name} is active from height {engine.from_height}, and unknown here", advice)
        else:
            advice = "install the version of the program that the chain needs"
            yield fail("engines", f"{engine.name} is not this program's", advice)


def check_keys(home: Home, genesis: Genesis, ledger: Ledger | None, others: Sequence[Home]) -> Iterator[Finding]:
    """The node's own keys: there, private, registered, and nobody else's."""
    node_key = yield from _load_key(home, NODE_KEY_FILE, is_needed=True)
    if node_key is not None:
        yield _check_node(node_key, genesis, ledger)
    consensus_key = yield from _load_key(home, CONSENSUS_KEY_FILE, is_needed=False)
    if consensus_key is not None:
        yield _check_validator(consensus_key, genesis, ledger)
    yield from _load_key(home, REPORTER_KEY_FILE, is_needed=False)
    for path in sorted(home.keystore.glob("*.json")):
        if path.stat().st_mode & 0o077:
            yield fail("keys", f"{path} is readable by others", f"chmod 600 {path}")
    for other in others:
        yield _check_shared(other, consensus_key)


def check_clock(ledger: Ledger | None, genesis: Genesis, seconds_since_final: float | None) -> Iterator[Finding]:
    """That the clock runs evenly, and stands where the chain's does, within the chain's bound on drift."""
    yield _check_evenness()
    now_ms = time.time_ns() // 1_000_000
    if now_ms < genesis.time_ms:
        advice = "set the clock, and let NTP keep it"
        yield fail("clock", f"it stands {(genesis.time_ms - now_ms) / 1000:.0f} s before the chain's genesis", advice)
        return
    if ledger is None:
        return
    drift_ms = ledger.governing.parameters.clock_drift_ms
    ahead_ms = ledger.time_ms - now_ms
    bound = f"the chain allows {drift_ms} ms"
    if ahead_ms > drift_ms:
        advice = "the clock is late: let NTP set it, or this validator votes for no new block"
        yield fail("clock", f"block {ledger.height} is {ahead_ms} ms in its future; {bound}", advice)
    elif seconds_since_final is None:
        yield ok("clock", f"not before block {ledger.height}; {bound} (no node answers to compare with)")
    else:
        # The block's time is at most as old as it is final here, and the drift that its proposer had.
        late_ms = -ahead_ms - round(seconds_since_final * 1000)
        if late_ms > drift_ms + 10 * ledger.governing.parameters.delta_ms:
            words = f"block {ledger.height} is {late_ms} ms older than the time since it became final; {bound}"
            yield warn("clock", words, "the clock may be ahead of the others': compare it with NTP")
        else:
            yield ok("clock", f"within {max(0, late_ms)} ms of the blocks' times; {bound}")


def check_ports(config: Config, own_id: str, api_id: str | None, *, is_up: bool) -> Iterator[Finding]:
    """That the ports are free, or the home's own node has them. `api_id` is the node that answers on the API's."""
    for name, host, port in (("api", config.api.host, config.api.port), ("p2p", config.p2p.host, config.p2p.port)):
        if port == 0 or _is_free(host, port):
            if is_up and port != 0:
                yield warn("ports", f"nothing listens on the {name} port {port}", "the running node has another config")
            else:
                yield ok("ports", f"{name} {host}:{port} is free")
        elif is_up and (name == "p2p" or api_id == own_id):
            yield ok("ports", f"{name} {host}:{port} is this home's own node's")
        else:
            whom = "another node" if name == "api" and api_id is not None else _listener(port)
            advice = f"stop it, or choose another port in config.toml ([{name}] port)"
            yield fail("ports", f"{name} {host}:{port} is taken by {whom}", advice)


def check_disk(home: Home) -> Iterator[Finding]:
    """Room on the data's disk, and that it can be written."""
    where = home.data if home.data.exists() else home.path
    free_bytes = shutil.disk_usage(where).free
    words = f"{free_bytes / 2**30:.1f} GiB are free on the disk of {where}"
    if free_bytes < RESERVE_SIZE_BYTES:
        yield fail("disk", words, "make room: the node stops when it cannot write")
    elif free_bytes < SCARCE_FREE_BYTES:
        yield warn("disk", words, "make room soon")
    else:
        yield ok("disk", words)
    if not os.access(where, os.W_OK | os.X_OK):
        yield fail("disk", f"{where} cannot be written by this user", "run this, and the node, as its owner")


def check_descriptors() -> Iterator[Finding]:
    """How many files and connections a process may have open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FEW_DESCRIPTORS:
        yield warn("descriptors", f"at most {hard} open files", "raise LimitNOFILE or ulimit -Hn to 65536")
    else:
        yield ok("descriptors", f"{'unlimited' if hard == resource.RLIM_INFINITY else hard} open files are allowed")


def own_node_id(home: Home) -> str:
    """The node's identity among peers; empty without a key."""
    try:
        key = home.load_key(NODE_KEY_FILE)
    except ConfigError:
        return ""
    return "" if key is None else node_id_of(make_node_certificate(key)).hex()


def _load_key(home: Home, file_name: str, *, is_needed: bool) -> Generator[Finding, None, PrivateKey | None]:
    """The key, once the findings about it are given."""
    path = home.path / file_name
    try:
        key = home.load_key(file_name)
    except ConfigError as error:
        is_open = path.stat().st_mode & 0o077
        advice = f"chmod 600 {path}" if is_open else "restore it from your copy"
        yield fail("keys", str(error), advice)
        return None
    if key is not None:
        yield ok("keys", f"{file_name} is there, readable by its owner only")
    elif is_needed:
        yield fail("keys", f"{path} is missing", "restore it from your copy, or run `openledger init` for a new node")
    elif file_name == CONSENSUS_KEY_FILE:
        yield ok("keys", "there is no consensus key: this node follows without a vote")
    return key


def _check_node(key: PrivateKey, genesis: Genesis, ledger: Ledger | None) -> Finding:
    certificate = make_node_certificate(key)
    known = (
        [each.node for each in genesis.validators] + list(genesis.observers)
        if ledger is None
        else list(ledger.registry.nodes())
    )
    if any(each.certificate == certificate for each in known):
        return ok("keys", "the registry knows this node")
    where = "genesis" if ledger is None else f"the registry of height {ledger.height}"
    advice = "ask the validators to admit it: `openledger tx propose` with its validator.json"
    return warn("keys", f"{where} does not know this node: others refuse its connections", advice)


def _check_validator(key: PrivateKey, genesis: Genesis, ledger: Ledger | None) -> Finding:
    members = genesis.validator_set() if ledger is None else ledger.governing.validators
    short = key.address.hex()[:12]
    if key.address in members.by_id():
        return ok("keys", f"the consensus key {short} votes with power {members.by_id()[key.address].power}")
    if ledger is not None and any(each.consensus_key == key.public_key for each in ledger.registry.candidates):
        return ok("keys", f"the consensus key {short} votes from the next epoch on")
    advice = "right for a validator that is to join or was replaced; else the key file is another one's"
    return warn("keys", f"the consensus key {short} is not in the validator set", advice)


def _check_shared(other: Home, consensus_key: PrivateKey | None) -> Finding:
    try:
        theirs = other.load_key(CONSENSUS_KEY_FILE)
    except ConfigError as error:
        return warn("keys", f"{other.path}: {error}", "its key could not be compared")
    if theirs is not None and consensus_key is not None and theirs.public_key == consensus_key.public_key:
        advice = "remove one of them at once: two nodes with one key sign twice, and lose the bond"
        return fail("keys", f"{other.path} has the same consensus key", advice)
    return ok("keys", f"{other.path} has another consensus key")


def _check_evenness() -> Finding:
    """Watches both clocks for a moment: neither goes back, and they do not part."""
    began_ms, before = time.time() * 1000 - time.monotonic() * 1000, time.monotonic()
    worst_ms = 0.0
    for _ in range(CLOCK_SAMPLES):
        now = time.monotonic()
        if now < before:
            return fail("clock", "the monotonic clock went back", "the machine is broken: do not run a node on it")
        before = now
        worst_ms = max(worst_ms, abs(time.time() * 1000 - now * 1000 - began_ms))
    if worst_ms > LARGEST_CLOCK_STEP_MS:
        return warn("clock", f"the wall clock jumped by {worst_ms:.0f} ms while watched", "let NTP slew it")
    return ok("clock", "it runs evenly")


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _listener(port: int) -> str:
    """Which process listens on a port, as far as this user may know."""
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        inodes |= {
            f"socket:[{fields[9]}]"
            for fields in (line.split() for line in lines)
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port
        }
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # another user's, or gone
            if any(_target(each) in inodes for each in (process / "fd").iterdir()):
                return f"process {process.name} ({(process / 'comm').read_text().strip()})"
    return "a process of another user"


def _target(link: Path) -> str:
    """What a descriptor stands for; it may be closed by now."""
    try:
        return str(link.readlink())
    except OSError:
        return ""
