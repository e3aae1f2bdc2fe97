"""The actions of `homeserver media` that change chosen media."""

import argparse
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from tqdm import tqdm

from homeserver.config.model import Config
from homeserver.protocol.content_uri import parse_content_uri
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.run.operator_cli import Commands, LoadConfig
from homeserver.storage import media_references, media_selection
from homeserver.storage.database import Database, Transaction
from homeserver.storage.media_selection import MediaSelection
from homeserver.telemetry.clock import SystemClock

Change: TypeAlias = Callable[[Database, Config], Awaitable[int]]
RunChange: TypeAlias = Callable[[Config, Change], int]

_DAY_MS: Final = 24 * 60 * 60 * 1000
_AT_ONCE: Final = 500
# What stands in the table for whoever has this command.
_OPERATOR: Final = "operator"
_ACTIONS: Final = (
    ("purge", "remove media for good, unless it is protected", "removed"),
    ("quarantine", "hide media, and all with the same bytes, unless it is protected", "hidden"),
    ("release", "let quarantined media be seen again", "released"),
    ("protect", "keep media from quarantine, purging and retention", "protected"),
    ("unprotect", "end that", "no longer protected"),
)


def add_change_commands(
    actions: Commands,
    add_config: Callable[[argparse.ArgumentParser], None],
    load: LoadConfig,
    run_change: RunChange,
) -> None:
    """Add the actions; `run_change` opens the database for one."""
    for name, about, done in _ACTIONS:
        parser = actions.add_parser(name, help=about, description=about)
        add_config(parser)
        _add_selection(parser)

        def run(chosen: argparse.Namespace, name: str = name, done: str = done) -> int:
            async def change(database: Database, config: Config) -> int:
                return await _change(database, config, chosen, name, done)

            if not _is_chosen(chosen):
                raise OSError("say which media: URIs, --user, --room, --server or an age")
            return run_change(load(chosen), change)

        parser.set_defaults(command=run)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("uri", nargs="*", type=_uri, metavar="MXC_URI", help="any number")
    parser.add_argument("--user", metavar="USER_ID", help="what this user has uploaded")
    room = parser.add_argument("--room", metavar="ROOM_ID")
    room.help = "what messages of this room have attached; encrypted ones cannot be seen into"
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--server", metavar="NAME", help="media of this server")
    whose.add_argument("--remote", action="store_true", help="media of all other servers")
    whose.add_argument("--local", action="store_true", help="media of this server's users")
    unused = parser.add_argument("--unused-days", type=_days, metavar="DAYS")
    unused.help = "what nobody has read for this long"
    older = parser.add_argument("--older-days", type=_days, metavar="DAYS")
    older.help = "what came longer ago"
    parser.add_argument("--dry-run", action="store_true", help="only count what is chosen")


def _uri(text: str) -> tuple[str, str]:
    try:
        uri = parse_content_uri(text)
    except InvalidIdentifier as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no mxc:// URI") from error
    return uri.origin, uri.media_id


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days < float("inf"):
        raise argparse.ArgumentTypeError("a number of days, not negative")
    return days


def _is_chosen(chosen: argparse.Namespace) -> bool:
    names = ("uri", "user", "room", "server", "remote", "local")
    return any(getattr(chosen, name) for name in names) or any(
        days is not None for days in (chosen.unused_days, chosen.older_days)
    )


def _selection_of(chosen: argparse.Namespace, own_name: str, now_ms: int) -> MediaSelection:
    def before(days: float | None) -> int | None:
        return None if days is None else now_ms - round(days * _DAY_MS)

    return MediaSelection(
        uris=chosen.uri or None,
        uploader=chosen.user,
        room_id=chosen.room,
        origin=own_name if chosen.local else chosen.server,
        not_origin=own_name if chosen.remote else None,
        unused_since_ts=before(chosen.unused_days),
        created_before_ts=before(chosen.older_days),
    )


async def _change(
    database: Database, config: Config, chosen: argparse.Namespace, name: str, done: str
) -> int:
    own_name, now_ms = config.server.name, SystemClock().now_ms()
    selection = _selection_of(chosen, own_name, now_ms)
    async with database.connection("media selection") as connection:
        files, byte_count = await media_selection.measure(connection, selection)
    print(f"chosen: {files} media, {byte_count} bytes")
    if chosen.dry_run:
        return 0
    if name == "purge":
        changed = await _purge(database, selection, own_name, files)
    else:
        async with database.transaction("media change") as tx:
            await media_references.lock_removal(tx)
            changed = await _CHANGES[name](tx, selection)
            if name == "quarantine" and _is_by_uri_alone(selection):
                changed += await media_selection.quarantine_unseen(
                    tx, chosen.uri, _OPERATOR, own_name=own_name, now_ts=now_ms
                )
    print(f"{done}: {changed} media")
    return 0


async def _purge(database: Database, selection: MediaSelection, own_name: str, chosen: int) -> int:
    """Remove media with a bar; protected media is among the chosen, and stays."""
    removed = 0
    with tqdm(total=chosen, unit="media", desc="removed") as bar:
        while True:
            async with database.transaction("media purge") as tx:
                await media_references.lock_removal(tx)
                count = await media_selection.delete_unprotected(tx, selection, own_name, _AT_ONCE)
            if count == 0:
                return removed
            removed += count
            bar.update(count)


def _is_by_uri_alone(selection: MediaSelection) -> bool:
    uris, *others = selection
    return uris is not None and all(each is None for each in others)


async def _quarantine(tx: Transaction, selection: MediaSelection) -> int:
    return await media_selection.quarantine(tx, selection, _OPERATOR)


async def _protect(tx: Transaction, selection: MediaSelection) -> int:
    return await media_selection.protect(tx, selection, is_protected=True)


async def _unprotect(tx: Transaction, selection: MediaSelection) -> int:
    return await media_selection.protect(tx, selection, is_protected=False)


_CHANGES: Final = {
    "quarantine": _quarantine,
    "release": media_selection.release,
    "protect": _protect,
    "unprotect": _unprotect,
}
