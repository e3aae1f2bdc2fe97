"""matrix-nio, unmodified, against the program as an operator starts it in an empty folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.chat import assert_nothing_is_lost, two_programs
from tests.support.processes import ServerProcess, server_processes

MESSAGES = 100


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with its own PostgreSQL and with every setting at its default."""
    with server_processes() as make:
        made = make(tmp_path / "data")
        made.start()
        yield made


def restart_server(server: ServerProcess) -> None:
    server.kill()
    server.start()


def kill_postgres(server: ServerProcess) -> None:
    server.kill_postgres()


def kill_both(server: ServerProcess) -> None:
    # PostgreSQL first: nobody is left to finish or to report what was on its way.
    server.kill_postgres()
    server.kill()
    server.start()


def restart_in_order(server: ServerProcess) -> None:
    assert server.stop() == 0
    server.start()


def nothing(_server: ServerProcess) -> None:
    pass


@pytest.mark.parametrize(
    "disaster", [nothing, restart_in_order, restart_server, kill_postgres, kill_both]
)
def test_two_programs_chat_and_each_message_is_there_once(
    server: ServerProcess, disaster: Callable[[ServerProcess], None]
) -> None:
    with two_programs(server.url, server.url, MESSAGES) as (alice, bob):
        alice.wait_for_messages(MESSAGES // 2)
        disaster(server)
        assert_nothing_is_lost(alice.wait_for_end(), bob.wait_for_end(), MESSAGES)
