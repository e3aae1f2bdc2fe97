"""Log lines are structured, complete, and free of secrets."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from homeserver.config.sections.logs import LoggingSection
from homeserver.telemetry.context import bind, bind_only, bound, bound_facts
from homeserver.telemetry.log import REDACTED, configure_logging, get_logger


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def json_lines(level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure_logging(LoggingSection(format="json", level=level), stream)  # type: ignore[arg-type]
    return stream


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_message_level_time_module_and_facts() -> None:
    stream = json_lines()
    get_logger("a.b").warning("key fetch failed", origin="x.test", attempts=3)
    [line] = read(stream)
    assert line.pop("timestamp").endswith("+00:00")
    assert line == {
        "message": "key fetch failed",
        "level": "warning",
        "module": "a.b",
        "origin": "x.test",
        "attempts": 3,
    }


def test_bound_facts_are_in_every_line_and_give_way_to_those_of_the_line() -> None:
    stream = json_lines()
    with bound(request_id="r-1", origin="outer"):
        get_logger("m").info("one", origin="inner")
    get_logger("m").info("two")
    first, second = read(stream)
    assert (first["request_id"], first["origin"]) == ("r-1", "inner")
    assert "request_id" not in second


def test_less_important_lines_are_left_out() -> None:
    stream = json_lines("warning")
    get_logger("m").info("quiet")
    get_logger("m").error("loud")
    assert [line["message"] for line in read(stream)] == ["loud"]


@pytest.mark.parametrize(
    "name", ["password", "token", "access_token", "new_password", "client_secret", "bot_token"]
)
def test_fields_that_are_named_like_secrets_are_redacted(name: str) -> None:
    stream = json_lines()
    get_logger("m").info("login", **{name: "hunter2"})
    assert read(stream)[0][name] == REDACTED
    assert "hunter2" not in stream.getvalue()


def test_secrets_in_bound_facts_are_redacted() -> None:
    stream = json_lines()
    with bound(token="hunter2"):
        get_logger("m").info("login")
    assert "hunter2" not in stream.getvalue()


def test_a_traceback_is_one_field_of_the_line() -> None:
    stream = json_lines()
    try:
        raise KeyError("gone")
    except KeyError:
        get_logger("m").exception("failed")
    [line] = read(stream)
    assert "Traceback" in line["exception"]
    assert line["level"] == "error"


def test_text_that_cannot_be_encoded_does_not_break_the_log() -> None:
    stream = json_lines()
    get_logger("m").info("request", path="/\udcff")
    assert "udcff" in read(stream)[0]["path"]


def test_values_that_json_does_not_know_are_shown() -> None:
    stream = json_lines()
    get_logger("m").info("odd", error=KeyError("x"))
    assert read(stream)[0]["error"] == "KeyError('x')"


def test_text_is_for_people() -> None:
    stream = io.StringIO()
    configure_logging(LoggingSection(format="text"), stream)
    get_logger("m").info("request", path="/\udcff", status=200)
    assert "request" in stream.getvalue()
    assert "status=200" in stream.getvalue()


def test_auto_means_json_where_nobody_looks() -> None:
    stream = io.StringIO()
    configure_logging(LoggingSection(), stream)
    get_logger("m").info("hello")
    assert read(stream)[0]["message"] == "hello"


def test_libraries_log_to_the_same_place_from_warnings_on() -> None:
    stream = json_lines()
    logging.getLogger("library").info("chatter")
    logging.getLogger("library").warning("trouble %s", 7)
    [line] = read(stream)
    assert (line["message"], line["module"], line["level"]) == ("trouble 7", "library", "warning")


def test_facts_add_up_and_are_replaced_together() -> None:
    with bound():
        bind_only({"request_id": "r-1"})
        bind(user_id="@a:b")
        assert bound_facts() == {"request_id": "r-1", "user_id": "@a:b"}
        bind_only({"request_id": "r-2"})
        assert bound_facts() == {"request_id": "r-2"}
    assert bound_facts() == {}
