"""The command `homeserver media`, which works on the database and the store themselves."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

from tqdm import tqdm

from homeserver.config.model import Config
from homeserver.run.media_layer import place_of
from homeserver.run.media_selecting import Change, add_change_commands
from homeserver.run.operator_cli import Commands, LoadConfig
from homeserver.storage import media_blobs, media_selection
from homeserver.storage.database import Database
from homeserver.storage.embedded import EmbeddedPostgres
from homeserver.telemetry.clock import SystemClock
from media_repo.lifecycle import transfer
from media_repo.lifecycle.transfer import Damage, Progress
from media_repo.places import Place, PlaceUnavailable
from media_repo.spool import Spool

_T = TypeVar("_T")
_Passage = Callable[[Progress], AsyncIterator[Damage]]

_USERS: Final = 50


def add_media_commands(
    commands: Commands, add_config: Callable[[argparse.ArgumentParser], None], load: LoadConfig
) -> None:
    """Add the command with its actions."""
    about = "what media there is; remove, hide, check and move it"
    media = commands.add_parser("media", help=about, description=about)
    actions = media.add_subparsers(required=True, metavar="ACTION")
    _add_usage(actions, add_config, load)

    def change(config: Config, work: Change) -> int:
        return with_database(config, lambda database: work(database, config))

    add_change_commands(actions, add_config, load, change)
    _add_verify(actions, add_config, load)
    _add_move(actions, add_config, load)


def with_database(config: Config, work: Callable[[Database], Awaitable[_T]]) -> _T:
    """Do something with the database of a configuration, whether a server runs or not.

    Raises DatabaseUnavailable, UnsuitableDatabase, EmbeddedPostgresFailed.
    """

    async def run(dsn: str) -> _T:
        async with Database(dsn, clock=SystemClock(), settings=config.database) as database:
            return await work(database)

    if config.database.dsn is not None:
        return asyncio.run(run(config.database.dsn.reveal()))
    postgres = EmbeddedPostgres(
        config.embedded_database_path,
        settings=config.database.embedded_settings,
        run_as=config.database.embedded_user,
    )
    dsn = postgres.start()
    try:
        return asyncio.run(run(dsn))
    finally:
        postgres.stop()


def _add_usage(
    actions: Commands, add_config: Callable[[argparse.ArgumentParser], None], load: LoadConfig
) -> None:
    about = "how much there is, and of whom"
    usage = actions.add_parser("usage", help=about, description=about)
    add_config(usage)
    users = usage.add_argument("--users", type=int, default=_USERS, metavar="NUMBER")
    users.help = f"how many users to list, those with the most first; by default {_USERS}"

    def run(chosen: argparse.Namespace) -> int:
        config = load(chosen)
        return with_database(config, lambda database: _tell_usage(database, config, chosen.users))

    usage.set_defaults(command=run)


async def _tell_usage(database: Database, config: Config, users: int) -> int:
    async with database.connection("media usage") as connection:
        files, byte_count = await media_blobs.totals(connection)
        remote = await media_selection.remote_usage(connection, config.server.name)
        listed = await media_selection.usage_by_user(connection, users)
    print(f"the store: {files} files, {sized(byte_count)}")
    print(f"of other servers: {remote[0]} files, {sized(remote[1])}")
    for usage in listed:
        print(f"{usage.uploader}: {usage.files} files, {sized(usage.byte_count)}")
    return 0


def _add_verify(
    actions: Commands, add_config: Callable[[argparse.ArgumentParser], None], load: LoadConfig
) -> None:
    about = "read every file and compare it with its hash; ends with 1 if any is damaged"
    verify = actions.add_parser("verify", help=about, description=about)
    add_config(verify)

    def run(chosen: argparse.Namespace) -> int:
        config = load(chosen)
        place = _place_of(config)

        async def check(database: Database) -> int:
            return await _pass(
                database, "verified", lambda told: transfer.verify(database, place, told)
            )

        return with_database(config, check)

    verify.set_defaults(command=run)


def _add_move(
    actions: Commands, add_config: Callable[[argparse.ArgumentParser], None], load: LoadConfig
) -> None:
    about = (
        "copy all files to the store of another configuration; a server may run, and what came"
        " meanwhile is copied by doing it again"
    )
    move = actions.add_parser("move", help=about, description=about)
    add_config(move)
    to = move.add_argument("--to", type=Path, required=True, metavar="FILE")
    to.help = "a homeserver.yaml in which section media names the new store"
    remove = move.add_argument("--remove", action="store_true")
    remove.help = "remove what the new store has from the old; when servers use the new one"

    def run(chosen: argparse.Namespace) -> int:
        config, target = load(chosen), load(argparse.Namespace(config=chosen.to))
        return with_database(
            config, lambda database: _move(database, config, target, removes=chosen.remove)
        )

    move.set_defaults(command=run)


async def _move(database: Database, old: Config, new: Config, *, removes: bool) -> int:
    source, target = _place_of(old), _place_of(new)
    spool = Spool(new.media_path / "spool")
    await asyncio.to_thread(spool.open)
    try:
        same = await transfer.is_same_place(source, target, spool)
        failed = await _pass(
            database,
            "copied",
            lambda told: transfer.copy(database, source, target, spool, told),
        )
    finally:
        await asyncio.to_thread(spool.close)
    if failed or not removes:
        return failed
    if same:
        print("homeserver: both configurations name one store", file=sys.stderr)
        return 1
    return await _pass(
        database,
        "removed",
        lambda told: transfer.remove_copied(database, source, target, told),
    )


async def _pass(database: Database, done: str, passage: _Passage) -> int:
    """Go through the store with a bar, and return the exit code."""
    files, byte_count = await transfer.totals(database)
    damaged = 0
    try:
        with tqdm(total=byte_count, unit="B", unit_scale=True, desc=done) as bar:

            def told(count: int) -> None:
                bar.update(count)

            async for damage in passage(told):
                damaged += 1
                tqdm.write(f"{damage.sha256} {damage.reason}", file=sys.stdout)
    except PlaceUnavailable as error:
        raise OSError(f"the store cannot be reached: {error}") from error
    print(f"{done}: {files} files, {sized(byte_count)}; damaged: {damaged}")
    return 1 if damaged else 0


def _place_of(config: Config) -> Place:
    try:
        return place_of(config)
    except ValueError as error:
        raise OSError(str(error)) from error


def sized(byte_count: int) -> str:
    """Return a number of bytes for people."""
    return f"{tqdm.format_sizeof(byte_count, 'B', 1024)} ({byte_count} bytes)"
