"""A node that comes takes over the destinations that belong to it, and loses nothing."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from aiohttp import web

from federation.sending import presence_repeats, sender
from federation.sending.shards import lease_name, shard_of
from homeserver.config.sections.listeners import Listener
from homeserver.config.sections.presence import PresenceSection
from homeserver.config.sections.server import ServerSection
from homeserver.run import foundation
from homeserver.run.compose import RunningServer
from tests.between_servers.conftest import NewDatabase
from tests.support.certificates import Authority
from tests.support.client import clients_of
from tests.support.federation import federation_section, named_server
from tests.support.peer_server import PeerServer, hangs
from tests.support.presence import sets_presence
from tests.support.remote_member import RemoteMember
from tests.support.server import server_of


def winners(name: str) -> Iterator[str]:
    """Return node IDs, to each of which a follower belongs rather than to those before."""
    best = b""
    for number in range(100_000):
        hashed = sha256(f"node {number} {name}".encode()).digest()
        if hashed > best:
            best = hashed
            yield f"node {number}"


def hangs_once() -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse | None]]:
    """Answer nothing to the first request, and leave the others to the peer."""
    requests = itertools.count()

    async def answer(request: web.BaseRequest) -> web.StreamResponse | None:
        return None if next(requests) else await hangs(request)

    return answer


async def holder(server: RunningServer, name: str) -> str | None:
    async with server.base.database.connection() as connection:
        node_id: str | None = await connection.fetchval(
            "SELECT lease_node FROM followers WHERE name = $1", name
        )
        return node_id


async def is_held_by(server: RunningServer, name: str) -> None:
    """Wait until a node has a lease."""
    async with asyncio.timeout(60), server.base.database.connection() as connection:
        while await holder(server, name) != server.base.node_id:
            await connection.execute("SELECT pg_sleep(0.05)")


@pytest.mark.parametrize("is_slow", [False, True])
async def test_a_destination_that_is_handed_over_gets_everything_in_order(
    authority: Authority,
    new_database: NewDatabase,
    tmp_path: Path,
    peer: PeerServer,
    monkeypatch: pytest.MonkeyPatch,
    is_slow: bool,
) -> None:
    lease = lease_name(shard_of(peer.name))
    node_ids = winners(lease)
    monkeypatch.setattr(foundation, "_node_id", lambda: next(node_ids))
    monkeypatch.setattr(sender, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(sender, "_STOP_SECONDS", 0.5)
    dsn = new_database()
    async with named_server(authority, dsn, tmp_path) as first, clients_of(first.url) as clients:
        alice = await clients.user("alice")
        room = await alice.creates_room(preset="public_chat")
        eve = RemoteMember(first, peer, "eve")
        await eve.joins(room)
        await alice.sends(room, "0")
        await eve.waits_until(lambda: eve.bodies == ["0"])
        # What is on its way when the shard is handed over does not arrive.
        if is_slow:
            eve.script = hangs_once()
        await alice.sends(room, "1")
        async with server_of(
            dsn,
            tmp_path,
            server=ServerSection(name=first.name, data_dir=tmp_path),
            listeners=(Listener(port=0),),
            federation=federation_section(authority),
        ) as second:
            for number in range(2, 30):
                await alice.sends(room, str(number))
            await is_held_by(second, lease)
            for number in range(30, 60):
                await alice.sends(room, str(number))
            await eve.waits_until(lambda: len(set(eve.bodies)) == 60)
            assert await holder(second, lease) == second.base.node_id
        # It stops, and the destination comes back.
        await is_held_by(first.running, lease)
        await alice.sends(room, "60")
        await eve.waits_until(lambda: len(set(eve.bodies)) == 61)
    assert list(dict.fromkeys(eve.bodies)) == [str(number) for number in range(61)]


async def test_who_is_there_is_told_again_by_the_node_that_sends(
    authority: Authority,
    new_database: NewDatabase,
    tmp_path: Path,
    peer: PeerServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever node the user's client is connected to."""
    lease = lease_name(shard_of(peer.name))
    node_ids = winners(lease)
    monkeypatch.setattr(foundation, "_node_id", lambda: next(node_ids))
    monkeypatch.setattr(sender, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(presence_repeats, "REPEAT_MS", 400)
    monkeypatch.setattr(presence_repeats, "ROUND_SECONDS", 0.1)
    dsn = new_database()
    presence = PresenceSection()
    async with (
        named_server(authority, dsn, tmp_path, presence=presence) as first,
        clients_of(first.url) as clients,
        server_of(
            dsn,
            tmp_path,
            server=ServerSection(name=first.name, data_dir=tmp_path),
            listeners=(Listener(port=0),),
            federation=federation_section(authority),
            presence=presence,
        ) as second,
    ):
        alice, eve = await clients.user("alice"), RemoteMember(first, peer, "eve")
        await eve.joins(await alice.creates_room(preset="public_chat"))
        await is_held_by(second, lease)
        await sets_presence(alice, "unavailable")
        # Once by the log, and then again and again.
        await eve.waits_until(lambda: len(eve.edus("m.presence")) >= 3)
        assert await holder(second, lease) == second.base.node_id
    told = [update for each in eve.edus("m.presence") for update in each["push"]]
    assert {update["user_id"] for update in told} == {alice.user_id}
