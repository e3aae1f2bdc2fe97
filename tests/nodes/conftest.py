"""Two nodes: the same program twice, over one database and one Redis."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.support.processes import ServerProcess, server_processes

StartNodes: TypeAlias = Callable[[str], Awaitable[tuple[ServerProcess, ServerProcess]]]


@pytest.fixture
async def start_nodes(database_dsn: str, tmp_path: Path) -> AsyncIterator[StartNodes]:
    """Starts two nodes that share everything but their memory; takes the address of Redis."""
    with ExitStack() as stack:
        make = stack.enter_context(server_processes())

        async def start(redis_url: str) -> tuple[ServerProcess, ServerProcess]:
            settings = {
                "DATABASE_DSN": database_dsn,
                "REDIS_URL": redis_url,
                "RATE_LIMITS_ENABLED": "false",
                "PASSWORDS_BCRYPT_COST": "4",
            }
            nodes = make(tmp_path / "data", settings), make(tmp_path / "data", settings)
            await asyncio.gather(*(asyncio.to_thread(node.start) for node in nodes))
            return nodes

        yield start
        await asyncio.to_thread(stack.close)
