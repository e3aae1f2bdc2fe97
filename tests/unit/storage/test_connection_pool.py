"""When the pool makes connections, without a database."""

import asyncio
from typing import Any

import pytest

from homeserver.storage.connection_pool import ConnectionPool


class Connection:
    """One that is always well."""

    def is_closed(self) -> bool:
        return False

    def is_in_transaction(self) -> bool:
        return False


class Server:
    """Lets connections be made when the test says so."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Connection]] = []

    async def connect(self) -> Connection:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def pool(server: Server) -> ConnectionPool:
    return ConnectionPool(server.connect, maximum=3, wait_seconds=60)


def borrow(pool: ConnectionPool) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(pool.lend())


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_waiting_user_takes_what_comes_back_instead_of_connecting(
    pool: ConnectionPool, server: Server
) -> None:
    first, second = borrow(pool), borrow(pool)
    await settle()
    (made,) = server.asked
    connection = Connection()
    made.set_result(connection)
    assert await first is connection
    # The second connects now; a third waits for either.
    await settle()
    third = borrow(pool)
    await settle()
    pool.take_back(connection)
    assert await third is connection
    assert len(server.asked) == 2
    server.asked[1].set_result(Connection())
    await second


async def test_waiting_users_connect_one_after_the_other_up_to_the_maximum(
    pool: ConnectionPool, server: Server
) -> None:
    users = [borrow(pool) for _ in range(4)]
    for number in range(3):
        await settle()
        assert len(server.asked) == number + 1
        server.asked[number].set_result(Connection())
    connections = [await user for user in users[:3]]
    assert len(set(map(id, connections))) == 3
    await settle()
    assert len(server.asked) == 3
    pool.take_back(connections[1])
    assert await users[3] is connections[1]


async def test_failure_to_connect_lets_the_next_one_try(
    pool: ConnectionPool, server: Server
) -> None:
    first, second = borrow(pool), borrow(pool)
    await settle()
    server.asked[0].set_exception(ConnectionRefusedError())
    with pytest.raises(ConnectionRefusedError):
        await first
    await settle()
    connection = Connection()
    server.asked[1].set_result(connection)
    assert await second is connection
