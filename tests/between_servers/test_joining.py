"""Coming into rooms of other servers, and leaving them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from federation.transport.client import path_of
from homeserver.protocol.identifiers import RoomID
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.web.paths import FEDERATION_V1
from tests.between_servers.conftest import RunServers
from tests.support.client import Client, clients_of, refused
from tests.support.dag import key_of
from tests.support.federation import NamedServer
from tests.support.peer_server import PeerServer


@contextlib.asynccontextmanager
async def people(servers: list[NamedServer], *names: str) -> AsyncIterator[list[Client]]:
    """One user of each server, in order."""
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for server, name in zip(servers, names, strict=True):
            maker = await stack.enter_async_context(clients_of(server.url))
            found.append(await maker.user(name))
        yield found


@pytest.fixture
async def two(running_servers: RunServers) -> AsyncIterator[list[NamedServer]]:
    async with running_servers(2) as servers:
        yield servers


async def members_at(server: NamedServer, room_id: str) -> dict[str, str | None]:
    await server.running.parts.memberships.completion.attempted(RoomID(room_id))
    head = await server.running.rooms.heads.head(room_id)
    assert head is not None
    return {k[1]: e.membership for k, e in head.state.items() if k[0] == "m.room.member"}


async def state_ids_at(server: NamedServer, room_id: str) -> dict[Any, str]:
    await server.running.parts.memberships.completion.attempted(RoomID(room_id))
    head = await server.running.rooms.heads.head(room_id)
    assert head is not None
    return {key: entry.event_id for key, entry in head.state.items()}


async def section(client: Client, name: str, room_id: str, since: str | None = None) -> Any:
    answer = await client.syncs(since)
    return answer.get("rooms", {}).get(name, {}).get(room_id)


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
async def test_a_public_room_of_every_version_is_joined(
    two: list[NamedServer], version: str
) -> None:
    async with people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room(preset="public_chat", room_version=version, name="Hall")
        await bob.post(f"join/{room_id}", {}, via=two[0].name)
        assert await members_at(two[0], room_id) == await members_at(two[1], room_id)
        assert await state_ids_at(two[0], room_id) == await state_ids_at(two[1], room_id)
        joined = await section(bob, "join", room_id)
        assert joined["summary"]["m.joined_member_count"] == 2
        assert (await bob.reads_state(room_id, "m.room.name"))["name"] == "Hall"
        await bob.sends(room_id, "Hello")


async def test_an_invite_is_seen_and_followed(two: list[NamedServer]) -> None:
    async with people(two, "alice", "bob") as [alice, bob]:
        since = (await bob.syncs())["next_batch"]
        room_id = await alice.creates_room(preset="private_chat", name="Cellar")
        await alice.invites(room_id, bob)
        invite = await section(bob, "invite", room_id, since)
        shown = {event["type"]: event for event in invite["invite_state"]["events"]}
        assert shown["m.room.name"]["content"] == {"name": "Cellar"}
        assert {"m.room.create", "m.room.join_rules", "m.room.member"} <= shown.keys()
        assert (await members_at(two[0], room_id))[bob.user_id] == "invite"
        # Known from the invite: nobody has to name a server.
        await bob.joins(room_id)
        assert await state_ids_at(two[0], room_id) == await state_ids_at(two[1], room_id)
        assert await section(bob, "invite", room_id) is None
        assert (await section(bob, "join", room_id))["summary"]["m.joined_member_count"] == 2


async def test_an_invite_in_a_direct_chat_is_made_with_the_room(two: list[NamedServer]) -> None:
    async with people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room(invite=[bob.user_id], is_direct=True)
        assert await section(bob, "invite", room_id) is not None
        assert await alice.post(f"rooms/{room_id}/invite", {"user_id": bob.user_id}) == {}


@pytest.mark.parametrize("version", ["1", "6", "12"])
async def test_an_invite_is_rejected(two: list[NamedServer], version: str) -> None:
    async with people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room(preset="private_chat", room_version=version)
        await alice.invites(room_id, bob)
        since = (await bob.syncs())["next_batch"]
        await bob.leaves(room_id)
        assert (await members_at(two[0], room_id))[bob.user_id] == "leave"
        assert await section(bob, "leave", room_id, since) is not None
        assert await section(bob, "invite", room_id) is None
        await bob.leaves(room_id)


async def test_an_invite_is_rejected_though_its_server_refuses(two: list[NamedServer]) -> None:
    async with people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room(preset="private_chat")
        await alice.invites(room_id, bob)
        await alice.bans(room_id, bob)
        await bob.leaves(room_id)
        assert await section(bob, "invite", room_id) is None
        with refused(403, "M_FORBIDDEN"):
            await bob.joins(room_id)


async def test_who_takes_no_invites_is_not_invited(two: list[NamedServer]) -> None:
    async with people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room(preset="private_chat")
        path = f"user/{bob.user_id}/account_data/m.invite_permission_config"
        await bob.put(path, {"default_action": "block"})
        with refused(403, "M_INVITE_BLOCKED"):
            await alice.invites(room_id, bob)
        assert bob.user_id not in await members_at(two[0], room_id)


async def test_nobody_is_invited_who_is_not_there(two: list[NamedServer]) -> None:
    async with people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room(preset="private_chat")
        stranger = f"@nobody:{two[1].name}"
        with refused(403, "M_FORBIDDEN"):
            await alice.post(f"rooms/{room_id}/invite", {"user_id": stranger})
        await bob.post("account/deactivate", {"auth": {
            "type": "m.login.password", "password": "wordpass-1",
            "identifier": {"type": "m.id.user", "user": bob.user_id},
        }})  # fmt: skip
        with refused(403, "M_FORBIDDEN"):
            await alice.invites(room_id, bob)


async def test_a_knock_is_accepted(two: list[NamedServer]) -> None:
    async with people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room(name="Door")
        await alice.sets(room_id, "m.room.join_rules", {"join_rule": "knock"})
        since = (await bob.syncs())["next_batch"]
        await bob.post(f"knock/{room_id}", {"reason": "please"}, via=two[0].name)
        assert (await members_at(two[0], room_id))[bob.user_id] == "knock"
        knock = await section(bob, "knock", room_id, since)
        types = {event["type"] for event in knock["knock_state"]["events"]}
        assert {"m.room.create", "m.room.name", "m.room.member"} <= types
        await alice.invites(room_id, bob)
        assert await section(bob, "knock", room_id) is None
        assert await section(bob, "invite", room_id) is not None
        await bob.joins(room_id)
        assert (await members_at(two[0], room_id))[bob.user_id] == "join"


async def test_a_knock_is_retracted(two: list[NamedServer]) -> None:
    async with people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room()
        await alice.sets(room_id, "m.room.join_rules", {"join_rule": "knock"})
        await bob.post(f"knock/{room_id}", {}, via=two[0].name)
        await bob.leaves(room_id)
        assert (await members_at(two[0], room_id))[bob.user_id] == "leave"
        assert await section(bob, "knock", room_id) is None


async def test_closed_rooms_stay_closed(two: list[NamedServer]) -> None:
    async with people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room(preset="private_chat")
        for path in (f"join/{room_id}", f"knock/{room_id}"):
            with refused(403, "M_FORBIDDEN"):
                await bob.post(path, {}, via=two[0].name)
        for path in ("join", "knock"):
            with refused(404, "M_NOT_FOUND"):
                await bob.post(f"{path}/!nowhere:{two[0].name}", {})


async def test_a_restricted_room_is_joined_by_members_of_another(two: list[NamedServer]) -> None:
    async with people(two, "alice", "bob") as [alice, bob]:
        space = await alice.creates_room(preset="public_chat")
        room_id = await alice.creates_room(preset="private_chat")
        allow = [{"type": "m.room_membership", "room_id": space}]
        rule = {"join_rule": "restricted", "allow": allow}
        await alice.sets(room_id, "m.room.join_rules", rule)
        with refused(403, "M_FORBIDDEN"):
            await bob.post(f"join/{room_id}", {}, via=two[0].name)
        await bob.post(f"join/{space}", {}, via=two[0].name)
        await bob.post(f"join/{room_id}", {}, via=two[0].name)
        joined = await bob.reads_state(room_id, "m.room.member", bob.user_id)
        assert joined["join_authorised_via_users_server"] == alice.user_id
        assert await state_ids_at(two[0], room_id) == await state_ids_at(two[1], room_id)
        rule["allow"] = [{"type": "m.room_membership", "room_id": "!else:where.example"}]
        await alice.sets(room_id, "m.room.join_rules", rule)


async def test_a_condition_that_nobody_can_check(two: list[NamedServer]) -> None:
    async with people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room(preset="private_chat")
        allow = [{"type": "m.room_membership", "room_id": "!else:where.example"}]
        rule = {"join_rule": "restricted", "allow": allow}
        await alice.sets(room_id, "m.room.join_rules", rule)
        with refused(400, "M_UNABLE_TO_AUTHORISE_JOIN"):
            await bob.post(f"join/{room_id}", {}, via=two[0].name)


async def test_a_denied_server_gets_nowhere(two: list[NamedServer]) -> None:
    async with people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room(preset="public_chat")
        await alice.sets(room_id, "m.room.server_acl", {"allow": ["*"], "allow_ip_literals": False})
        with refused(403, "M_FORBIDDEN"):
            await bob.post(f"join/{room_id}", {}, via=two[0].name)


async def test_templates_cite_only_what_is_stored(server: NamedServer, peer: PeerServer) -> None:
    """Whoever made an event of one would else be told that it cites what does not exist."""
    peer.key = key_of(peer.name)
    peer.publishes_keys()
    eve = f"@eve:{peer.name}"
    running = server.running
    async with clients_of(server.url) as maker:
        alice = await maker.user("alice")
        room_id = await alice.creates_room(preset="public_chat", room_version="11")
        path = path_of(FEDERATION_V1, "make_join", room_id, eve)
        first = await peer.sends(server.name, "GET", f"{path}?ver=11")
        async with running.base.database.transaction() as tx:
            await tx.execute("SELECT FROM rooms FOR UPDATE")
            sending = asyncio.create_task(alice.sends(room_id, "hello"))
            async with asyncio.timeout(30):
                while not running.rooms.heads.is_ahead(room_id):
                    await alice.get("account/whoami")
            asking = asyncio.create_task(peer.sends(server.name, "GET", f"{path}?ver=11"))
            done, _ = await asyncio.wait([asking], timeout=0.5)
            assert not done
        hello, second = await sending, await asking
    assert first.json["event"]["prev_events"] != [hello]
    assert second.json["event"]["prev_events"] == [hello]


async def test_a_room_that_was_left_is_joined_again(two: list[NamedServer]) -> None:
    async with people(two, "alice", "bob") as [alice, bob]:
        room_id = await alice.creates_room(preset="public_chat")
        await bob.post(f"join/{room_id}", {}, via=two[0].name)
        await bob.leaves(room_id)
        await alice.sets(room_id, "m.room.name", {"name": "While you were out"})
        await bob.joins(room_id)
        assert (await bob.reads_state(room_id, "m.room.name"))["name"] == "While you were out"
