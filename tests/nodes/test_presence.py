"""Presence with several nodes over one database. Spec: client-server-api/#presence"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.run.compose import RunningServer
from homeserver.services.presence_sessions import GRACE_MS, IDLE_MS
from homeserver.services.presence_writer import ALIVE_MS
from tests.support.client import Client, ClientMaker, clients_of
from tests.support.clock import FakeClock
from tests.support.presence import (
    passes,
    presence_server,
    reads_presence,
    sets_presence,
    settles,
    states_in,
)
from tests.support.reading import waiting_sync

GRACE, IDLE, ALIVE = GRACE_MS / 1000, IDLE_MS / 1000, ALIVE_MS / 1000


class TwoNodes:
    """Two nodes without a bus: the log alone tells each of the other."""

    def __init__(
        self, nodes: list[RunningServer], makers: list[ClientMaker], clock: FakeClock
    ) -> None:
        self.nodes = nodes
        self._makers = makers
        self._clock = clock

    async def user(self, name: str) -> Client:
        return await self._makers[0].user(name)

    def elsewhere(self, client: Client) -> Client:
        """Return the same user, at the other node."""
        other = self._makers[1].nobody()
        other.access_token, other.user_id = client.access_token, client.user_id
        return other

    async def settle(self) -> None:
        for node in (*self.nodes, *self.nodes):
            await settles(node)

    async def passes(self, seconds: float) -> None:
        await passes(self.nodes[0], self._clock, seconds)
        await passes(self.nodes[1], self._clock, 0)
        await self.settle()


@pytest.fixture
async def two(database_dsn: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[TwoNodes]:
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(presence_server(database_dsn, tmp_path, clock))
            for _ in range(2)
        ]
        makers = [await stack.enter_async_context(clients_of(node.url)) for node in nodes]
        yield TwoNodes(nodes, makers, clock)


@pytest.fixture
async def alice(two: TwoNodes) -> Client:
    return await two.user("alice")


@pytest.fixture
async def bob(two: TwoNodes, alice: Client) -> Client:
    user = await two.user("bob")
    await user.joins(await alice.creates_room(preset="public_chat"))
    return user


async def test_the_other_node_tells_of_a_change(two: TwoNodes, alice: Client, bob: Client) -> None:
    since = (await alice.syncs(set_presence="offline"))["next_batch"]
    await two.elsewhere(bob).syncs()
    await two.settle()
    answer = await alice.syncs(since, set_presence="offline")
    assert states_in(answer) == {bob.user_id: "online"}


async def test_a_user_is_online_until_both_nodes_have_lost_sight(
    two: TwoNodes, alice: Client, bob: Client
) -> None:
    there = two.elsewhere(bob)
    await bob.syncs()
    await two.settle()
    await two.passes(GRACE - 10)
    await there.syncs()
    await two.settle()
    await two.passes(10)
    assert (await reads_presence(alice, bob))["presence"] == "online"
    await two.passes(GRACE)
    assert (await reads_presence(alice, bob))["presence"] == "offline"


async def test_the_more_active_node_counts(two: TwoNodes, alice: Client, bob: Client) -> None:
    await two.elsewhere(bob).syncs()
    await two.settle()
    await bob.syncs(set_presence="unavailable")
    await two.settle()
    assert (await reads_presence(alice, bob))["presence"] == "online"


async def test_activity_at_one_node_ends_being_idle_at_the_other(
    two: TwoNodes, alice: Client, bob: Client
) -> None:
    there = two.elsewhere(bob)
    await there.syncs()
    await two.settle()
    since = (await there.syncs())["next_batch"]
    async with waiting_sync(two.nodes[1], there, since):
        await two.passes(IDLE)
        assert (await reads_presence(alice, bob))["presence"] == "unavailable"
        await bob.sends((await bob.joined_rooms())[0], "written on my other device")
        await two.settle()
        assert (await reads_presence(alice, bob))["presence"] == "online"


async def test_a_choice_at_one_node_holds_at_the_other(
    two: TwoNodes, alice: Client, bob: Client
) -> None:
    there = two.elsewhere(bob)
    await there.syncs()
    await two.settle()
    await sets_presence(bob, "offline")
    await two.settle()
    await there.syncs()
    await two.settle()
    assert (await reads_presence(alice, bob))["presence"] == "offline"


async def test_nobody_stays_online_at_a_node_that_has_died(
    database_dsn: str, tmp_path: Path, clock: FakeClock
) -> None:
    async with (
        presence_server(database_dsn, tmp_path, clock) as here,
        clients_of(here.url) as clients,
    ):
        alice, bob = await clients.user("alice"), await clients.user("bob")
        await bob.joins(await alice.creates_room(preset="public_chat"))
        async with (
            presence_server(database_dsn, tmp_path, clock) as there,
            clients_of(there.url) as others,
        ):
            elsewhere = others.nobody()
            elsewhere.access_token, elsewhere.user_id = bob.access_token, bob.user_id
            await elsewhere.syncs()
            await settles(there)
        await settles(here)
        await passes(here, clock, ALIVE - 15)
        assert (await reads_presence(alice, bob))["presence"] == "online"
        await passes(here, clock, 15)
        assert (await reads_presence(alice, bob))["presence"] == "offline"
        async with here.base.database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM presence_nodes") == 1
