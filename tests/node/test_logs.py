"""Levels change while the program runs, in general and by module, and every line says which module speaks."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from node.config import ConfigError, LogConfig
from node.logs import MOST_MODULES, LeveledLogger, Logs, set_up_logging
from node.p2p import door, network


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def speak(logs: Logs, name: str) -> None:
    """A line of each level, as a module says them."""
    logger = structlog.wrap_logger(
        logs(name), wrapper_class=LeveledLogger, processors=[structlog.processors.JSONRenderer()]
    )
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(logger, level)(f"{name} {level}")


def said(file: io.StringIO) -> list[str]:
    return [json.loads(line)["event"] for line in file.getvalue().splitlines()]


def test_a_level_silences_what_is_below_it_and_changes_at_once() -> None:
    file = io.StringIO()
    logs = Logs(LogConfig(level="warning"), file)
    speak(logs, "node.app")
    assert said(file) == ["node.app warning", "node.app error", "node.app critical"]
    assert logs.set_level("debug")
    speak(logs, "node.app")
    assert said(file)[3:] == [f"node.app {each}" for each in ("debug", "info", "warning", "error", "critical")]
    assert not logs.set_level("debug"), "nothing is different"


def test_a_modules_level_is_its_own_and_that_of_what_is_below_it() -> None:
    file = io.StringIO()
    logs = Logs(LogConfig(level="error"), file)
    logs("node.p2p.network"), logs("node.engine")  # they spoke before the level changed
    logs.set_level("debug", "node.p2p")
    logs.set_level("warning", network.__name__)
    speak(logs, door.__name__)
    speak(logs, "node.p2p.network")
    speak(logs, "node.engine")
    assert said(file) == [
        *(f"node.p2p.door {each}" for each in ("debug", "info", "warning", "error", "critical")),
        *(f"node.p2p.network {each}" for each in ("warning", "error", "critical")),
        *(f"node.engine {each}" for each in ("error", "critical")),
    ]
    assert logs.levels == {"": "error", "node.p2p": "debug", "node.p2p.network": "warning"}
    logs.set_level("info")
    assert logs.levels == {"": "info"}, "a level for all takes back those of single modules"


@pytest.mark.parametrize(
    ("level", "module", "words"),
    [
        ("loud", "", "'loud' is no level; there are debug, info, warning, error"),
        ("info", "os", "'os' is no module of the node"),
        ("info", "node.nothing", "'node.nothing' is no module of the node"),
        ("info", "node.p2p; rm", "is no module of the node"),
    ],
)
def test_what_is_no_level_or_no_module_is_refused(level: str, module: str, words: str) -> None:
    logs = Logs(LogConfig())
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        logs.set_level(level, module)
    assert logs.levels == {"": "info"}


def test_modules_with_levels_of_their_own_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    logs = Logs(LogConfig())
    names = [f"node.made_up_{number}" for number in range(MOST_MODULES + 1)]
    for name in names:
        monkeypatch.setitem(__import__("sys").modules, name, structlog)
    for name in names[:-1]:
        logs.set_level("debug", name)
    with pytest.raises(ConfigError, match=f"{MOST_MODULES} modules have a level"):
        logs.set_level("debug", names[-1])
    logs.set_level("info", names[0])


@pytest.mark.parametrize("config", [LogConfig(level="loud"), LogConfig(format="xml")])
def test_a_config_that_means_nothing_is_refused(config: LogConfig) -> None:
    with pytest.raises(ConfigError, match="log level is one of debug, info, warning, error; format is json or text"):
        set_up_logging(config)


def test_json_lines_name_level_time_and_module(capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    logs = set_up_logging(LogConfig(level="info", format="json"))
    logs._file = sys.stderr
    structlog.get_logger("node.app").info("started", height=7)
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger("node.app").exception("failed")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    timestamp = first.pop("timestamp")
    assert timestamp.endswith("Z")
    assert first == {"event": "started", "height": 7, "level": "info", "module": "node.app"}
    assert second["exception"][0]["exc_value"] == "broken"
