"""`python -m tests.attribution.arm64`: the same digests on aarch64, by Debian's packages under qemu-user.

Python, numpy and OpenBLAS of Debian for arm64, and qemu for this machine, are downloaded and unpacked into
build/arm64: nothing is installed, nobody need be root. Needs apt-get and dpkg-deb. An engine whose digests need a
library that is not among these packages is skipped by name. Status 1 if the two machines differ.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from attribution.products import Backend
from tests.attribution.determinism import ROOT, Row, judge, line, perform, threads

PLACE = ROOT / "build" / "arm64"
PACKAGES = ("python3-minimal", "python3", "python3-numpy", "libopenblas0-pthread")
EMULATOR = "qemu-user-static"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SOURCE = "deb [signed-by={keyring}] http://deb.debian.org/debian {release} main\n"
RELEASE = "bookworm"
CONFIGURATION = """
Dir::State "{place}/state";
Dir::State::status "{place}/state/status";
Dir::Cache "{place}/cache";
Dir::Etc::sourcelist "{place}/sources.list";
Dir::Etc::sourceparts "{place}/none";
Dir::Etc::preferencesparts "{place}/none";
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; "{host}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Binary::apt::APT::Keep-Downloaded-Packages "true";
"""


def run(command: Sequence[str | Path], cwd: Path) -> str:
    """Raises: SystemExit with what the command said."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr.strip()}")
    return done.stdout


def unpack(packages: Sequence[Path], into: Path) -> None:
    into.mkdir()
    for package in packages:
        run(["dpkg-deb", "-x", package, into], into)


def set_up() -> None:
    """Downloads and unpacks both, once."""
    if (PLACE / "complete").exists():
        return
    for needed in ("apt-get", "dpkg-deb"):
        if shutil.which(needed) is None:
            raise SystemExit(f"{needed} is not there: this target needs a Debian or Ubuntu")
    if not Path(KEYRING).exists():
        raise SystemExit(f"{KEYRING} is not there: install debian-archive-keyring")
    host = run(["dpkg", "--print-architecture"], ROOT).strip()
    PLACE.parent.mkdir(exist_ok=True)
    shutil.rmtree(PLACE, ignore_errors=True)
    for folder in ("state/lists/partial", "cache/archives/partial", "none"):
        (PLACE / folder).mkdir(parents=True)
    (PLACE / "state/status").touch()
    (PLACE / "sources.list").write_text(SOURCE.format(keyring=KEYRING, release=RELEASE), encoding="utf-8")
    configuration = PLACE / "apt.conf"
    configuration.write_text(CONFIGURATION.format(place=PLACE, host=host), encoding="utf-8")
    apt = ["env", f"APT_CONFIG={configuration}", "apt-get", "-qq", "-y"]
    print("downloading Debian's packages for arm64 (25 MB) and qemu (60 MB) ...", flush=True)
    run([*apt, "update"], PLACE)
    run([*apt, "--download-only", "install", *PACKAGES], PLACE)
    unpack(sorted((PLACE / "cache/archives").glob("*.deb")), PLACE / "root")
    with tempfile.TemporaryDirectory(dir=PLACE) as scratch:
        run([*apt, "download", f"{EMULATOR}:{host}"], Path(scratch))
        unpack(sorted(Path(scratch).glob("*.deb")), PLACE / "qemu")
    shutil.rmtree(PLACE / "cache")
    (PLACE / "complete").touch()


def emulated(engines: Sequence[str]) -> list[str]:
    """The sweep's child on aarch64."""
    root = PLACE / "root"
    libraries = root / "usr/lib/aarch64-linux-gnu"
    search = f"{libraries / 'openblas-pthread'}:{libraries}"
    python = [str(root / "usr/bin/python3.11"), "-m", "tests.attribution.determinism"]
    emulator = [str(PLACE / "qemu/usr/bin/qemu-aarch64-static"), "-L", str(root), "-E", f"LD_LIBRARY_PATH={search}"]
    return [*emulator, *python, "--may-skip", "--child", Backend.NUMPY.value, *engines]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attribution.arm64", description=__doc__)
    parser.add_argument("engines", nargs="*", help="only these (exact, head, ...)")
    engines = parser.parse_args().engines
    set_up()
    own = [sys.executable, "-m", "tests.attribution.determinism", "--child", Backend.NUMPY.value, *engines]
    rows: list[Row] = []
    for setting, command, environment in (
        ("this machine", own, threads(1)),
        ("aarch64 under qemu", emulated(engines), threads(1) | {"PYTHONPATH": str(ROOT)}),
    ):
        rows.append(perform(setting, command, environment, is_planted=False))
    shared = set.intersection(*(set(row.digests) for row in rows))
    rows = [replace(row, digests={name: row.digests[name] for name in shared}) for row in rows]
    print("\n".join(map(line, rows)))
    return judge(rows)


if __name__ == "__main__":
    sys.exit(main())
