from __future__ import annotations

import json
import logging
import sys

from service.logs import JsonFormatter, TextFormatter


def record(**extra: object) -> logging.LogRecord:
    made = logging.LogRecord("service.edge.middleware", logging.INFO, __file__, 1, "answered %s", ("it",), None)
    made.__dict__.update(extra)
    return made


def test_json_carries_the_known_fields_and_nothing_else() -> None:
    entry = json.loads(JsonFormatter().format(record(request_id="r1", status="200", secret="s", trace_id=None)))
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "info",
        "logger": "service.edge.middleware",
        "message": "answered it",
        "request_id": "r1",
        "status": "200",
    }


def test_an_exception_stays_on_one_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        failed = record()
        failed.exc_info = sys.exc_info()
    line = JsonFormatter().format(failed)
    assert "\n" not in line
    assert "ValueError: broken" in json.loads(line)["exception"]


def test_text_puts_fields_after_the_message() -> None:
    line = TextFormatter().format(record(request_id="r1", secret="s"))
    assert line.endswith("INFO answered it request_id=r1")
