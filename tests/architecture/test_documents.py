"""What the runbook, the containers and the dashboard name is there: commands, options, ports, paths, metrics."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import click
import pytest

from devnet.__main__ import cli as devnet_cli
from devnet.topology import VALIDATORS, container_places, open_devnet
from node.__main__ import cli
from node.api.health import HealthReason
from node.config import ApiConfig, Home, P2pConfig
from tests.architecture.sources import ROOT
from tests.node.api.test_metrics import TYPES

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "gauge": ("",)}
SERIES = {f"openledger_{name}{suffix}" for name, kind in TYPES.items() for suffix in SUFFIXES[kind]} | {"up"}


def commands() -> list[str]:
    """The command lines of the runbook's blocks, and the commands named in its text."""
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", RUNBOOK, re.DOTALL | re.MULTILINE))
    in_text = re.findall(r"`(openledger [^`]+)`", re.sub(r"^```.*?^```", "", RUNBOOK, flags=re.DOTALL | re.MULTILINE))
    return sorted({line for line in [*blocks.splitlines(), *in_text] if line.startswith("openledger")})


def check(group: click.Command, words: list[str]) -> None:
    """Walks the words down the tree of commands and has the last one parse its options. Raises: click.UsageError."""
    context = click.Context(group, info_name="openledger")
    while isinstance(group, click.Group):
        name, *words = words
        found = group.get_command(context, name)
        assert found is not None, f"{name} is no command of {group.name}"
        group = found
        context = click.Context(group, info_name=name, parent=context)
    group.parse_args(context, words)


def test_the_runbook_has_commands() -> None:
    assert len(commands()) > 25


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_runbook_exists_with_its_options(line: str) -> None:
    try:
        check(cli, shlex.split(line)[1:])
    except click.MissingParameter:
        assert f"`{line}`" in RUNBOOK, "only a command named in the text is cut short"


def test_a_command_that_is_none_would_be_found() -> None:
    with pytest.raises(AssertionError, match="dance is no command"):
        check(cli, ["dance"])
    with pytest.raises(click.NoSuchOption):
        check(cli, ["explain", "--loudly"])


def test_every_reason_of_readyz_and_every_alert_is_in_the_runbook() -> None:
    for reason in HealthReason:
        assert f"| `{reason.value}` |" in RUNBOOK
        assert reason.value == reason.name.lower()
        assert reason.sentence.endswith(".")
    names = re.findall(r"- alert: (\w+)", (ROOT / "devnet/alerts.yml").read_text(encoding="utf-8"))
    assert len(names) > 8
    assert re.findall(r"^\| (\w+) \|", RUNBOOK[RUNBOOK.index("## Alerts") :], re.MULTILINE)[1:] == names


# Metrics.


def series_in(expression: str) -> set[str]:
    """What an expression reads."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)", "", expression)
    return {word for word in re.findall(r"[a-z_]\w*", bare) if word.startswith("openledger_") or word == "up"}


def dashboard_expressions() -> list[str]:
    board = json.loads((ROOT / "devnet/grafana.json").read_text(encoding="utf-8"))
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def alert_expressions() -> list[str]:
    return re.findall(r"expr: (.+)", (ROOT / "devnet/alerts.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("expression", [*dashboard_expressions(), *alert_expressions()])
def test_a_query_reads_only_metrics_that_a_node_has(expression: str) -> None:
    read = series_in(expression)
    assert read
    assert read - SERIES == set()


def test_the_dashboard_shows_what_an_operator_asks_for() -> None:
    shown = {name for expression in dashboard_expressions() for name in series_in(expression)}
    for name in ("height", "missing_validators", "mempool_size", "peers", "equivocations_total", "disk_free_bytes"):
        assert f"openledger_{name}" in shown


def test_panels_do_not_overlap() -> None:
    board = json.loads((ROOT / "devnet/grafana.json").read_text(encoding="utf-8"))
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


# Containers. The subset of YAML that these files use: mappings, lists, scalars, anchors and merges, flow lists.


def read_yaml(name: str) -> Any:
    lines = [
        (len(line) - len(line.lstrip()), line.strip())
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.strip().startswith("#")
    ]
    anchors: dict[str, Any] = {}
    value, rest = parse_block(lines, anchors)
    assert rest == [], rest
    return value


Lines = list[tuple[int, str]]


def parse_block(lines: Lines, anchors: dict[str, Any]) -> tuple[Any, Lines]:
    indent = lines[0][0]
    found: Any = [] if lines[0][1].startswith("- ") else {}
    while lines and lines[0][0] == indent:
        text = lines[0][1]
        if isinstance(found, list):
            item = text[2:]
            if re.match(r"[\w.-]+:( |$)", item):
                inner = [(indent + 2, item), *lines[1:]]
                value, lines = parse_block(inner, anchors)
            else:
                value, lines = scalar(item), lines[1:]
            found.append(value)
            continue
        key, colon, rest = text.partition(":")
        assert colon, text
        rest, anchor = rest.strip(), None
        lines = lines[1:]
        if rest.startswith("&"):
            anchor, rest = rest[1:], ""
        if rest.startswith("*"):
            value = anchors[rest[1:]]
        elif rest:
            value = scalar(rest)
        elif lines and lines[0][0] > indent:
            value, lines = parse_block(lines, anchors)
        else:
            value = None
        if anchor is not None:
            anchors[anchor] = value
        if key == "<<":
            found = {**value, **found}
        else:
            assert key not in found or key in ("command",), f"{key} is there twice"
            found[key] = value
    return found, lines


def scalar(text: str) -> Any:
    return json.loads(text) if text[0] in '["' or text.isdecimal() else text


def services() -> dict[str, Any]:
    found: dict[str, Any] = read_yaml("devnet/compose.yaml")["services"]
    return found


def validators() -> Iterator[tuple[str, dict[str, Any]]]:
    return ((name, each) for name, each in services().items() if name.startswith("node"))


def test_the_containers_are_the_devnets_validators() -> None:
    assert [name for name, _ in validators()] == [f"node{number}" for number in range(1, VALIDATORS + 1)]
    expected = [f"{name}:{P2pConfig().port}" for name, _ in validators()]
    assert [place.endpoint for place in container_places()] == expected


def test_a_containers_command_exists_and_its_home_is_in_a_volume() -> None:
    volumes = read_yaml("devnet/compose.yaml")["volumes"]
    for name, each in validators():
        check(cli, each["command"])
        assert each["command"][-1] == f"/homes/{name}"
        for volume in each["volumes"]:
            source, target = volume.split(":")
            assert source in volumes
            assert each["command"][-1].startswith(f"{target}/")
        check(cli, each["healthcheck"]["test"][2:])
        assert each["image"] == "openledger"


def test_published_ports_are_on_loopback_and_those_of_the_config() -> None:
    published = [port for _, each in validators() for port in each["ports"]]
    assert len({port.split(":")[1] for port in published}) == VALIDATORS
    for port in published:
        host, _, inside = port.split(":")
        assert (host, int(inside)) == ("127.0.0.1", ApiConfig().port)


def test_homes_are_made_by_a_command_that_makes_them(tmp_path: Any) -> None:
    make = services()["make"]
    assert make["entrypoint"][:3] == ["python", "-m", "devnet"]
    check(devnet_cli, [*make["entrypoint"][3:], *make["command"]])
    devnet, is_new = open_devnet(tmp_path / "homes", places=container_places())
    assert is_new
    for node in devnet.nodes:
        config = Home(node.home).load_config()
        assert (config.api.host, config.api.port) == ("0.0.0.0", ApiConfig().port)
        assert (config.p2p.host, config.p2p.port) == ("0.0.0.0", P2pConfig().port)
    endpoints = [each.node.endpoint for each in devnet.genesis.validators]
    assert endpoints == [place.endpoint for place in container_places()]


def test_the_image_runs_the_real_command_line() -> None:
    words = (ROOT / "devnet/Dockerfile").read_text(encoding="utf-8")
    [entry] = re.findall(r"^ENTRYPOINT (.+)$", words, re.MULTILINE)
    [command] = re.findall(r"^CMD (.+)$", words, re.MULTILINE)
    assert json.loads(entry) == ["openledger"]
    check(cli, json.loads(command))
    for copied in re.findall(r"^COPY (\w+) \w+$", words, re.MULTILINE):
        assert (ROOT / copied / "__init__.py").exists()
    ports = {str(P2pConfig().port), str(ApiConfig().port)}
    assert set(re.findall(r"^EXPOSE (.+)$", words, re.MULTILINE)[0].split()) == ports


def test_prometheus_scrapes_every_validator_and_reads_the_alerts() -> None:
    found = read_yaml("devnet/prometheus.yml")
    [job] = found["scrape_configs"]
    [targets] = job["static_configs"]
    assert targets["targets"] == [f"{name}:{ApiConfig().port}" for name, _ in validators()]
    assert job["metrics_path"] == "/metrics"
    mounted = {each.split(":")[1].rpartition("/")[2] for each in services()["prometheus"]["volumes"]}
    assert mounted == {"prometheus.yml", *found["rule_files"]}
    for each in services()["prometheus"]["volumes"]:
        assert (ROOT / "devnet" / each.split(":")[0]).exists()
