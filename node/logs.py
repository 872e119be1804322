"""Structured logs on standard error, with levels that change while the node runs: in general, and by module.

Every logger keeps its own threshold, so that a line that is not wanted costs one comparison.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

from node.config import ConfigError, LogConfig

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
CRITICAL = logging.CRITICAL
FORMATS = ("json", "text")
MOST_MODULES = 64
"""Modules with a level of their own."""


class NamedLogger(structlog.PrintLogger):
    """Prints; knows which module speaks, and from which level on."""

    def __init__(self, file: TextIO, name: str, threshold: int) -> None:
        super().__init__(file)
        self.name = name
        self.threshold = threshold


class LeveledLogger(structlog.BoundLoggerBase):
    """What modules get: the usual methods, each silent below its logger's threshold."""

    def debug(self, event: str, **fields: Any) -> None:
        """For who looks into a matter."""
        self._say(logging.DEBUG, "debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """What happens."""
        self._say(logging.INFO, "info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """What somebody should look at."""
        self._say(logging.WARNING, "warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """What went wrong."""
        self._say(logging.ERROR, "error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """What went wrong, with where."""
        self._say(logging.ERROR, "error", event, {"exc_info": True, **fields})

    def critical(self, event: str, **fields: Any) -> None:
        """What ends the node."""
        self._say(CRITICAL, "critical", event, fields)

    def _say(self, level: int, name: str, event: str, fields: dict[str, Any]) -> None:
        if level >= self._logger.threshold:
            self._proxy_to_logger(name, event, **fields)


class Logs:
    """The levels of one process."""

    def __init__(self, config: LogConfig, file: TextIO = sys.stderr) -> None:
        """Raises: ConfigError."""
        _check(config)
        self._file = file
        self._level = config.level
        self._modules: dict[str, str] = {}
        self._loggers: dict[str, NamedLogger] = {}

    @property
    def levels(self) -> dict[str, str]:
        """The level of each module that has one of its own; the others' under an empty name."""
        return {"": self._level, **self._modules}

    def set_level(self, level: str, module: str = "") -> bool:
        """Sets a module's level, and that of what is below it; without a module, everybody's.

        Returns whether anything is different. Raises: ConfigError.
        """
        if level not in LEVELS:
            raise ConfigError(f"{level!r} is no level; there are {', '.join(LEVELS)}")
        if module and not _is_module(module):
            raise ConfigError(f"{module!r} is no module of the node: name one like node.p2p or node.engine")
        before = self.levels
        if not module:
            self._level, self._modules = level, {}
        elif module in self._modules or len(self._modules) < MOST_MODULES:
            self._modules[module] = level
        else:
            raise ConfigError(f"{MOST_MODULES} modules have a level of their own: set one for all first")
        for logger in self._loggers.values():
            logger.threshold = self._threshold(logger.name)
        return self.levels != before

    def __call__(self, name: str = "") -> NamedLogger:
        """The logger of a module (structlog's factory)."""
        logger = self._loggers.get(name)
        if logger is None:
            logger = self._loggers[name] = NamedLogger(self._file, name, self._threshold(name))
        return logger

    def _threshold(self, name: str) -> int:
        """The level of the nearest module above a name."""
        while name:
            if name in self._modules:
                return LEVELS[self._modules[name]]
            name = name.rpartition(".")[0]
        return LEVELS[self._level]


def set_up_logging(config: LogConfig) -> Logs:
    """Structured logs from here on. Raises: ConfigError."""
    logs = Logs(config)
    is_json = config.format == "json"
    renderer = structlog.processors.JSONRenderer() if is_json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _add_module,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks if is_json else structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=LeveledLogger,
        logger_factory=logs,
        cache_logger_on_first_use=True,
    )
    return logs


def _check(config: LogConfig) -> None:
    if config.level not in LEVELS or config.format not in FORMATS:
        raise ConfigError(f"log level is one of {', '.join(LEVELS)}; format is json or text")


def _is_module(name: str) -> bool:
    """Whether a name is one of the program's modules that are loaded."""
    return name.partition(".")[0] in ("node", "devnet") and name in sys.modules


def _add_module(logger: Any, _method: str, event: Any) -> Any:
    """Which module speaks: the name that a level can be set for."""
    event["module"] = logger.name
    return event
