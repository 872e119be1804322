"""Imports point down only, and each library has its owner."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture.sources import ROOT, files, imports, module_of, modules, name

FLOORS: tuple[tuple[str, ...], ...] = (
    ("node", "node.errors", "node.light"),
    ("node.primitives",),
    ("node.types",),
    ("node.storage", "node.config"),
    ("node.state", "node.keystore", "node.logs", "node.control"),
    ("node.modules",),
    ("node.execution", "node.payloads"),
    (
        "node.mempool",
        "node.proposal",
        "node.index",
        "node.signer",
        "node.p2p",
        "node.worker",
        "node.audit",
        "node.room",
        "node.recall",
        "node.observation",
    ),
    ("node.epochs", "node.pool"),
    ("node.snapshot", "node.pruning", "node.rollback"),
    ("node.beginning",),
    ("node.claims", "node.sync", "node.keeper", "node.offers"),
    ("node.waiting", "node.joining", "node.serving", "node.replication"),
    ("node.intake", "node.engine"),
    ("node.following",),
    ("node.replica",),
    ("node.api",),
    ("node.uploading",),
    ("node.client", "node.app"),
    ("node.cli", "node.__main__"),
)
"""From the ground up. A file imports its own unit and lower floors, never a neighbour and never above.

A node's program is one unit with its command line, because the one is the door to the other."""
PROGRAM = ("node.cli", "node.__main__")
DEVNET_USES = (
    "node.api.views", "node.api.views_chain", "node.api.views_data", "node.client", "node.config", "node.errors",
    "node.payloads", "node.primitives",
    "node.storage.wal", "node.types",
)  # fmt: skip
"""What the devnet sees of a node: the client's side, and files as they are written for it."""
INSIDERS = {"devnet/faults.py", "devnet/generate.py", "devnet/bench_sync.py", "devnet/perturbed.py"}
"""Run a node's own parts: a program with a lie or a bad machine built in, a chain that is made without the network."""

OWNERS = {
    "plyvel": ("node/storage/kv.py",),
    "msgpack": ("node/primitives/codec.py",),
    "cryptography": ("node/primitives/crypto.py",),
    "nacl": ("node/primitives/crypto.py",),
    "aiohttp": ("node/api/server.py", "node/client.py"),
    "prometheus_client": ("node/api/metrics.py",),
    "torch": ("attribution/head/fit.py", "attribution/mlp/fit.py", "attribution/products_torch.py"),
    "sklearn": ("devnet/data.py",),
    "pyarrow": ("attribution/tables.py",),
    "distributed": ("attribution/cli/shared.py",),
    "pydivsufsort": ("attribution/spans/sorting.py",),
    "ssl": ("node/app.py", "node/p2p/network.py"),
}
"""One place to look when a library changes."""
EVERYBODYS = {"click", "msgspec", "numpy", "structlog"}
"""Libraries that are a way of writing, in the packages of `LIBRARY_HOMES`."""
LIBRARY_HOMES = {
    "click": ("attribution/__main__.py", "attribution/cli", "devnet", "node/__main__.py", "node/cli"),
    "msgspec": ("devnet", "node/api", "node/cli", "node/client.py"),
    "numpy": ("attribution",),
    "structlog": ("devnet", "node"),
}

PURE = ("attribution", "consensus", "node/types", "node/state", "node/modules", "node/execution")
AROUND = ("attribution/__main__.py", "attribution/cli/", "attribution/batch.py")
"""In a pure package, and yet not what decides blocks: a command line, and who shares work among processes."""
IMPURE = {
    "asyncio",
    "concurrent",
    "datetime",
    "fcntl",
    "multiprocessing",
    "os",
    "queue",
    "random",
    "sched",
    "secrets",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "uuid",
}
"""Clocks, randomness, sockets, threads: nothing that differs between two validators."""


def is_in(module: str, unit: str) -> bool:
    return module == unit or (unit != "node" and module.startswith(f"{unit}."))


def floor_of(module: str) -> tuple[int, str]:
    """The floor of a module and the unit it belongs to there."""
    found = [(floor, unit) for floor, units in enumerate(FLOORS) for unit in units if is_in(module, unit)]
    assert len(found) == 1, f"{module} stands on {found or 'no floor'}: name it in FLOORS"
    return found[0]


def test_every_module_of_the_node_has_a_floor() -> None:
    for module in sorted(modules()):
        if module.split(".")[0] == "node":
            floor_of(module)


def test_a_file_of_the_node_imports_its_own_unit_and_what_is_below() -> None:
    upwards = []
    for path in files("node"):
        floor, unit = floor_of(module_of(path))
        for imported, line in imports(path):
            if imported.split(".")[0] != "node":
                continue
            below, other = floor_of(imported)
            if not (below < floor or unit == other or {unit, other} <= set(PROGRAM)):
                upwards.append(f"{name(path)}:{line}: {imported} is not below {unit}")
    assert upwards == []


@pytest.mark.parametrize("leaf", ["consensus", "attribution"])
def test_a_leaf_imports_nothing_else_of_ours(leaf: str) -> None:
    others = {"node", "devnet", "consensus", "attribution"} - {leaf}
    for path in files(leaf):
        for imported, line in imports(path):
            assert imported.split(".")[0] not in others, f"{name(path)}:{line}: {imported}"


def test_nobody_below_the_devnet_knows_it() -> None:
    for path in files("node", "consensus", "attribution"):
        for imported, line in imports(path):
            assert imported.split(".")[0] != "devnet", f"{name(path)}:{line}"


def test_the_devnet_sees_only_the_clients_side_of_a_node() -> None:
    for path in files("devnet"):
        if name(path) in INSIDERS:
            continue
        for imported, line in imports(path):
            is_allowed = imported.split(".")[0] != "node" or any(is_in(imported, unit) for unit in DEVNET_USES)
            assert is_allowed, f"{name(path)}:{line}: {imported}"


def test_only_the_engine_drives_consensus() -> None:
    drivers = {
        name(path)
        for path in files("node")
        for imported, _ in imports(path)
        if imported in ("consensus.simplex", "consensus.timers", "consensus.view", "consensus.votes")
    }
    assert drivers == {"node/engine.py"}


def test_only_the_worker_computes_attribution() -> None:
    """Everybody else names and prices requests, with the standard library's part of the package."""
    for path in files("node"):
        for imported, line in imports(path):
            if imported.split(".")[0] != "attribution":
                continue
            is_light = imported.split(".")[-1] in ("request", "content", "errors", "record", "jsonl")
            assert is_light or name(path) == "node/worker.py", f"{name(path)}:{line}: {imported}"


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_has_one_owner(library: str) -> None:
    users = {name(path) for path in files() for imported, _ in imports(path) if imported.split(".")[0] == library}
    assert users == set(OWNERS[library])


def test_every_library_has_a_home() -> None:
    known = set(OWNERS) | EVERYBODYS | {"attribution", "consensus", "devnet", "node"} | sys.stdlib_module_names
    for path in files():
        for imported, line in imports(path):
            top = imported.split(".")[0]
            assert top in known, f"{name(path)}:{line}: who owns {top}?"
            if top in LIBRARY_HOMES:
                homes = LIBRARY_HOMES[top]
                assert any(name(path) == home or name(path).startswith(f"{home}/") for home in homes), (
                    f"{name(path)}:{line}: {top} lives in {homes}"
                )


def test_what_decides_blocks_never_calls_what_stands_around_it() -> None:
    outside = {module_of(ROOT / each) for each in AROUND if each.endswith(".py")} | {"attribution.cli"}
    for path in files(*PURE):
        if not name(path).startswith(AROUND):
            for imported, line in imports(path):
                assert not any(is_in(imported, unit) for unit in outside), f"{name(path)}:{line}: {imported}"


def test_what_decides_blocks_knows_no_clock_no_chance_and_no_thread() -> None:
    for path in files(*PURE):
        if name(path).startswith(AROUND):
            continue
        for imported, line in imports(path):
            assert imported.split(".")[0] not in IMPURE, f"{name(path)}:{line}: {imported}"


LOADED_BY = """
import sys
before = set(sys.modules)
import {module}
new = {{each.split(".")[0] for each in set(sys.modules) - before}}
print(" ".join(sorted(new - sys.stdlib_module_names - {{"{package}"}})))
"""


@pytest.mark.parametrize(
    "module",
    [
        "consensus",
        "consensus.simplex",
        "attribution.request",
        "attribution.record",
        "attribution.examples",
        "attribution.artifact",
        "attribution.spans.tokens",
    ],
)
def test_importing_a_leaf_loads_nothing_outside_the_standard_library(module: str) -> None:
    code = LOADED_BY.format(module=module, package=module.split(".", maxsplit=1)[0])
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
