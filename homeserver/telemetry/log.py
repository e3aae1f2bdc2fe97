"""Structured logs: JSON lines for machines, coloured text for a terminal.

A module says `log = get_logger(__name__)` once and then
`log.warning("key fetch failed", origin=origin, attempts=3)`: a constant message, facts as
fields, no secrets, no content.
"""

import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Final, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from homeserver.config.sections.logs import LoggingSection
from homeserver.telemetry.context import bound_facts

Logger = FilteringBoundLogger

# A field of one of these names would hold a secret; the guard keeps it out of every log.
_SECRET_NAMES: Final = frozenset(
    {
        "access_token", "api_key", "as_token", "auth", "authorization", "client_secret", "cookie",
        "dsn", "hs_token", "key", "login_token", "mac", "new_password", "passphrase", "password",
        "private_key", "refresh_token", "secret", "shared_secret", "signing_key", "sid",
        "token",
    }
)  # fmt: skip
_SECRET_ENDINGS: Final = ("_token", "_secret", "_password", "_passphrase")
REDACTED: Final = "(redacted)"


def get_logger(name: str) -> Logger:
    """Return the logger of a module; usable before `configure_logging`."""
    return cast(Logger, structlog.get_logger(module=name))


def configure_logging(settings: LoggingSection, stream: TextIO | None = None) -> None:
    """Send all logs, those of libraries too, to `stream` (standard error by default)."""
    target = stream or sys.stderr
    minimum = logging.getLevelNamesMapping()[settings.level.upper()]
    is_text = settings.format == "text" or (settings.format == "auto" and target.isatty())
    structlog.configure(
        processors=_rendering(target, is_text=is_text),
        wrapper_class=structlog.make_filtering_bound_logger(minimum),
        logger_factory=structlog.WriteLoggerFactory(target),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_ToStructlog()]
    # Libraries speak of their own troubles from WARNING on; their chatter helps nobody.
    root.setLevel(max(minimum, logging.WARNING))


def redact_secrets(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Replace the values of fields that are named like secrets."""
    for name in line:
        if _is_secret(name):
            line[name] = REDACTED
    return line


@cache
def _is_secret(name: str) -> bool:
    # Names of fields are constants of the code, so there are few to remember.
    return name in _SECRET_NAMES or name.endswith(_SECRET_ENDINGS)


def _rendering(target: TextIO, *, is_text: bool) -> list[Processor]:
    # Every request writes a line: few processors, as each of them costs a microsecond.
    if is_text:
        # Each takes what the one before returns; structlog's type knows mappings only.
        last = cast(Processor, _without_surrogates)
        return [
            _complete,
            redact_secrets,
            structlog.dev.ConsoleRenderer(colors=target.isatty()),
            last,
        ]
    return [_complete, redact_secrets, _as_json]


def _complete(_logger: WrappedLogger, level: str, line: EventDict) -> EventDict:
    now = datetime.now(UTC)  # noqa: TID251 - a log tells the time of the machine
    return {
        "timestamp": now.isoformat(timespec="milliseconds"),
        "level": level,
        **bound_facts(),
        **line,
    }


def _as_json(logger: WrappedLogger, level: str, line: EventDict) -> str:
    line["message"] = line.pop("event")
    if "exc_info" in line:
        line = structlog.processors.format_exc_info(logger, level, line)
    try:
        return _encode_line(line).decode()
    except UnicodeEncodeError:
        # A lone surrogate: bytes of a request that were not UTF-8.
        return _encode_line({name: ascii(value) for name, value in line.items()}).decode()


def _without_surrogates(_logger: WrappedLogger, _method: str, line: str) -> str:
    return line.encode("utf-8", "backslashreplace").decode()


_encode_line: Final[Callable[[object], bytes]] = msgspec.json.Encoder(enc_hook=repr).encode


class _ToStructlog(logging.Handler):
    """Hands what libraries log to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record with its own level and logger name."""
        line = get_logger(record.name)
        line.log(record.levelno, record.getMessage(), exc_info=record.exc_info)
