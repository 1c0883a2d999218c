"""Log lines as text or JSON. They carry request ids, never user ids, vectors or keys."""

from __future__ import annotations

import logging
import logging.config
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import typer

from diffcdr.errors import DiffCDRError
from service.settings import Settings

logger = logging.getLogger(__name__)

FIELDS = (
    "request_id",
    "trace_id",
    "method",
    "route",
    "status",
    "duration_ms",
    "bundle",
    "device",
    "provider",
    "search_device",
)
"""What a record may carry beside its message (``logger.info(…, extra={…})``)."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, ``FIELDS``, and the traceback of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Render ``record``."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update((name, value) for name in FIELDS if (value := getattr(record, name, None)) is not None)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(entry, default=str).decode()


class TextFormatter(logging.Formatter):
    """``2024-01-01 12:00:00 INFO message key=value …``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Render ``record`` with its fields after the message."""
        fields = [f" {name}={value}" for name in FIELDS if (value := getattr(record, name, None)) is not None]
        return super().formatMessage(record) + "".join(fields)


def configure(settings: Settings) -> None:
    """Send every log line to standard error in ``settings.log_format``."""
    _configure(settings.log_format, settings.log_level.upper())


@contextmanager
def fatal_errors(log_format: str) -> Iterator[None]:
    """Where ``log_format`` is ``json``, what ends the service meanwhile is a JSON line too, whatever it is.

    Raises:
        typer.Exit: with the exit code of a DiffCDRError that was logged, or 1 for any other exception.
    """
    if log_format != "json":
        yield
        return
    _configure("json", "INFO")  # settings may be what is wrong
    try:
        yield
    except DiffCDRError as error:
        logger.critical(str(error))
        raise typer.Exit(error.exit_code) from error
    except Exception as error:
        logger.critical("the service failed: %s", error, exc_info=error)
        raise typer.Exit(1) from error


def _configure(log_format: str, level: str) -> None:
    formatter = "service.logs.JsonFormatter" if log_format == "json" else "service.logs.TextFormatter"
    logging.captureWarnings(True)
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": formatter}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": "WARNING"},
            "loggers": {
                "service": {"level": level},
                # The server's own start-up chatter says nothing that ours does not.
                "uvicorn": {"level": "WARNING"},
            },
        }
    )
