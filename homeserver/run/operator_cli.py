"""The commands `homeserver notice` and `homeserver reports`, which ask a running server."""

import argparse
import datetime as dt
import hashlib
import hmac
from collections.abc import Callable
from typing import Any, TypeAlias

from homeserver.config.model import Config
from homeserver.protocol.json_types import JsonObject
from homeserver.run.register_user import PATH as NONCE_PATH
from homeserver.run.register_user import RegistrationFailed, call, local_url
from homeserver.services.operator_commands import (
    CLOSE_REPORTS,
    LIST_REPORTS,
    SEND_NOTICE,
    proof_message,
)

LoadConfig: TypeAlias = Callable[[argparse.Namespace], Config]
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


def add_operator_commands(
    commands: Commands, add_config: Callable[[argparse.ArgumentParser], None], load: LoadConfig
) -> None:
    """Add the two commands."""
    _add_notice(commands, add_config, load)
    _add_reports(commands, add_config, load)


def ask(config: Config, url: str | None, operation: str, command: JsonObject) -> dict[str, Any]:
    """Let a running server carry out a command and return its answer.

    Raises RegistrationFailed: it cannot be reached, or refuses.
    """
    secret = config.registration.shared_secret
    if secret is None:
        raise RegistrationFailed(
            "set registration.shared_secret in the configuration, and start the server again"
        )
    base = (url or local_url(config)).rstrip("/")
    nonce = call(base + NONCE_PATH)["nonce"]
    message = proof_message(nonce, operation, command)
    mac = hmac.new(secret.reveal().encode(), message, hashlib.sha256).hexdigest()
    body = {"nonce": nonce, "mac": mac, "command": command}
    return call(f"{base}/_homeserver/admin/v1/{operation}", body)


def _add_notice(
    commands: Commands, add_config: Callable[[argparse.ArgumentParser], None], load: LoadConfig
) -> None:
    about = "send a server notice to users of a running server, by registration.shared_secret"
    notice = commands.add_parser("notice", help=about, description=about)
    add_config(notice)
    whom = notice.add_mutually_exclusive_group(required=True)
    whom.add_argument("--to", action="append", metavar="USER_ID", help="a user; any number")
    whom.add_argument("--all", action="store_true", help="everybody but guests")
    notice.add_argument("text", help="what to say")
    notice.add_argument("--url", help="address of the server, if it is not on this machine")

    def run(chosen: argparse.Namespace) -> int:
        command: JsonObject = {"text": chosen.text}
        if chosen.to:
            command["to"] = chosen.to
        answer = ask(load(chosen), chosen.url, SEND_NOTICE, command)
        print(f"on its way to {answer['users']} users")
        return 0

    notice.set_defaults(command=run)


def _add_reports(
    commands: Commands, add_config: Callable[[argparse.ArgumentParser], None], load: LoadConfig
) -> None:
    about = "what users have reported to a running server, by registration.shared_secret"
    reports = commands.add_parser("reports", help=about, description=about)
    actions = reports.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="show reports, oldest first, up to 100")
    listing.add_argument("--all", action="store_true", help="those that are closed, too")
    listing.add_argument("--first", type=int, default=0, metavar="NUMBER", help="begin here")
    closing = actions.add_parser("close", help="mark reports as dealt with")
    closing.add_argument("number", type=int, nargs="+", help="as `list` shows it")

    def run_list(chosen: argparse.Namespace) -> int:
        command: JsonObject = {"first": chosen.first, "with_closed": chosen.all}
        for report in ask(load(chosen), chosen.url, LIST_REPORTS, command)["reports"]:
            print(_line(report))
        return 0

    def run_close(chosen: argparse.Namespace) -> int:
        command: JsonObject = {"reports": chosen.number}
        closed = ask(load(chosen), chosen.url, CLOSE_REPORTS, command)["closed"]
        print(f"closed: {' '.join(map(str, closed)) or 'none, they were not open'}")
        return 0

    for parser, run in ((listing, run_list), (closing, run_close)):
        add_config(parser)
        parser.add_argument("--url", help="address of the server, if it is not on this machine")
        parser.set_defaults(command=run)


def _line(report: dict[str, Any]) -> str:
    when = dt.datetime.fromtimestamp(report["reported_ts"] / 1000, dt.UTC)
    about = " ".join(
        f"{name}={report[name]}" for name in ("event_id", "room_id", "user_id") if report[name]
    )
    closed = " (closed)" if report["closed_ts"] else ""
    # As a literal: a reason must not bring lines or control characters of its own.
    reason = repr(report["reason"])
    return f"{report['report']}{closed} {when:%Y-%m-%d %H:%M} {report['reporter']} {about} {reason}"
