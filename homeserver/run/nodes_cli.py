"""The command `homeserver nodes`, which reads the database: no node needs to answer."""

import argparse
import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from homeserver.config.model import Config
from homeserver.run.operator_cli import Commands, LoadConfig
from homeserver.storage import follower_nodes
from homeserver.storage.database import Database, DatabaseUnavailable
from homeserver.storage.embedded import EmbeddedPostgres
from homeserver.storage.follower_nodes import NodeAtWork
from homeserver.telemetry.clock import SystemClock


class _Work(NamedTuple):
    nodes: Sequence[NodeAtWork]
    unheld: Sequence[str]


def add_nodes_command(
    commands: Commands, add_config: Callable[[argparse.ArgumentParser], None], load: LoadConfig
) -> None:
    """Add the command."""
    about = "list the nodes that are alive, and which background work each of them does"
    nodes = commands.add_parser("nodes", help=about, description=about)
    add_config(nodes)

    def run(chosen: argparse.Namespace) -> int:
        for line in _lines(_work(load(chosen))):
            print(line)
        return 0

    nodes.set_defaults(command=run)


def _work(config: Config) -> _Work:
    """Raises DatabaseUnavailable, UnsuitableDatabase, EmbeddedPostgresFailed."""
    if config.database.dsn is not None:
        return asyncio.run(_read(config.database.dsn.reveal(), config))
    postgres = EmbeddedPostgres(
        config.embedded_database_path,
        settings=config.database.embedded_settings,
        run_as=config.database.embedded_user,
    )
    if postgres.pid is None:
        raise DatabaseUnavailable("no server runs in this data folder")
    dsn = postgres.start()
    try:
        return asyncio.run(_read(dsn, config))
    finally:
        postgres.stop()


async def _read(dsn: str, config: Config) -> _Work:
    clock = SystemClock()
    async with (
        Database(dsn, clock=clock, settings=config.database) as database,
        database.connection("nodes") as connection,
    ):
        now_ms = clock.now_ms()
        return _Work(
            await follower_nodes.alive(connection, now_ms),
            await follower_nodes.unheld(connection, now_ms),
        )


def _lines(work: _Work) -> Iterator[str]:
    for node in work.nodes:
        yield f"{node.node_id}  {len(node.leases)}: {', '.join(node.leases)}"
    if work.unheld:
        yield f"nobody  {len(work.unheld)}: {', '.join(work.unheld)}"
    if not work.nodes:
        yield "no node is alive"
