"""`homeserver nodes`, which asks the database who is alive."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from homeserver.run.cli import main
from tests.support.processes import server_processes
from tests.support.server import SERVER_NAME, server_of


@pytest.fixture
def run(tmp_path, capsys):
    """Runs the command with a configuration and returns exit code, output and errors."""

    async def command(**sections):
        config = tmp_path / "homeserver.yaml"
        config.write_text(json.dumps({"server": {"name": SERVER_NAME}} | sections))
        capsys.readouterr()
        code = await asyncio.to_thread(main, ["nodes", "--config", str(config)])
        return code, *capsys.readouterr()

    return command


async def test_live_nodes_are_listed_with_their_work(run, database_dsn: str, tmp_path: Path):
    database = {"dsn": database_dsn}
    async with server_of(database_dsn, tmp_path) as server:
        code, said, _ = await run(database=database)
        (line,) = [line for line in said.splitlines() if not line.startswith("{")]
        node_id, _, work = line.partition("  ")
        assert (code, node_id) == (0, server.base.node_id)
        assert f":{os.getpid()}:" in node_id
        count, _, names = work.partition(": ")
        assert int(count) == len(names.split(", "))
        assert "user_directory" in names or "user directory" in names
    code, said, _ = await run(database=database)
    assert (code, said) == (0, "no node is alive\n")


async def test_the_nodes_of_an_embedded_database_are_listed(run, tmp_path: Path):
    folder = tmp_path / "data"
    server = {"name": SERVER_NAME, "data_dir": str(folder)}
    code, said, error = await run(server=server)
    assert (code, said) == (1, "")
    assert error == "homeserver: no server runs in this data folder\n"
    with server_processes() as make:
        process = make(folder)
        await asyncio.to_thread(process.start)
        code, said, _ = await run(server=server)
        assert code == 0
        assert f":{process.pid}:" in said
        # PostgreSQL goes on for the node.
        assert process.postgres_pid is not None
        await asyncio.to_thread(process.stop)
