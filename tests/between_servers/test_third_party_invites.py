"""Invites by address across servers. Spec: server-server-api/#third-party-invites"""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from homeserver.storage import outbound
from tests.between_servers.conftest import RunServers
from tests.between_servers.test_joining import people, section, state_ids_at
from tests.between_servers.test_revoked_invites import LONG_MS
from tests.support.certificates import Authority
from tests.support.client import Client, answer_of, quoted
from tests.support.federation import NamedServer
from tests.support.identity_server import FakeIdentityServer, identity_server

FORBIDDEN = (403, "M_FORBIDDEN")


@pytest.fixture
async def identity() -> AsyncIterator[FakeIdentityServer]:
    async with identity_server() as running:
        yield running


@pytest.fixture
async def two(
    running_servers: RunServers, identity: FakeIdentityServer
) -> AsyncIterator[list[NamedServer]]:
    async with running_servers(2, **identity.sections()) as servers:
        yield servers


class Address:
    """An address that somebody is invited by, and that the identity server then binds."""

    def __init__(self, identity: FakeIdentityServer, authority: Authority, name: str) -> None:
        self.identity = identity
        self.authority = authority
        self.fields = {"medium": "email", "address": f"{name}@example.org"}

    async def is_invited(self, inviter: Client, room_id: str) -> None:
        body = {**self.fields, **self.identity.credentials}
        assert await inviter.post(f"rooms/{quoted(room_id)}/invite", body) == {}

    async def is_bound(
        self, server: NamedServer, user: Client, inviter: Client, room_id: str, **changes: Any
    ) -> int:
        """Tell the user's server; `changes` are of what is signed after it was signed."""
        signed = {**self.identity.signs(user.user_id), **changes}
        bound = {**self.fields, "mxid": user.user_id}
        invite = {**bound, "room_id": room_id, "sender": inviter.user_id, "signed": signed}
        connector = aiohttp.TCPConnector(ssl=self.authority.client_context())
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.put(
                f"https://{server.name}/_matrix/federation/v1/3pid/onbind",
                json={**bound, "invites": [invite]},
            ) as response,
        ):
            assert await response.json() == {}
            return response.status


async def test_a_bound_address_brings_its_user_into_a_room_of_another_server(
    two: list[NamedServer], identity: FakeIdentityServer, authority: Authority
) -> None:
    async with people(two, "alice", "carol") as [alice, carol]:
        room_id = await alice.creates_room(preset="private_chat", name="Den")
        address = Address(identity, authority, "carol")
        await address.is_invited(alice, room_id)
        token = identity.token
        # What does not fit what was signed is passed over, and the room learns nothing of it.
        for changes in ({"token": "other"}, {"mxid": f"@x:{two[1].name}"}, {"signatures": {}}):
            await address.is_bound(two[1], carol, alice, room_id, **changes)
        assert carol.user_id not in await alice.reads_members(room_id)
        assert await section(carol, "invite", room_id) is None

        since = (await carol.syncs())["next_batch"]
        await address.is_bound(two[1], carol, alice, room_id)
        invite = await section(carol, "invite", room_id, since)
        shown = {event["type"]: event for event in invite["invite_state"]["events"]}
        assert shown["m.room.name"]["content"] == {"name": "Den"}
        content = await alice.reads_state(room_id, "m.room.member", carol.user_id)
        assert content["membership"] == "invite"
        assert content["third_party_invite"]["display_name"] == "c...@e..."
        assert content["third_party_invite"]["signed"]["token"] == token
        # Told again, it changes nothing.
        await address.is_bound(two[1], carol, alice, room_id)
        await carol.joins(room_id)
        assert await state_ids_at(two[0], room_id) == await state_ids_at(two[1], room_id)
        await carol.sends(room_id, "Hello")


async def test_the_server_of_the_invited_invites_where_it_is_in_the_room(
    two: list[NamedServer], identity: FakeIdentityServer, authority: Authority
) -> None:
    """The inviter's server gets an invite in its user's name that it has not signed."""
    async with people(two, "alice", "bob") as [alice, bob], people(two[1:], "dan") as [dan]:
        room_id = await alice.creates_room(preset="private_chat")
        await alice.invites(room_id, bob)
        await bob.joins(room_id)
        since = (await bob.syncs())["next_batch"]
        address = Address(identity, authority, "dan")
        await address.is_invited(alice, room_id)
        while not await has_state(bob, room_id, "m.room.third_party_invite", identity.token):
            since = (await bob.syncs(since, timeout=LONG_MS))["next_batch"]
        since = (await alice.syncs())["next_batch"]
        await address.is_bound(two[1], dan, alice, room_id)
        assert await section(dan, "invite", room_id) is not None
        while not await has_state(alice, room_id, "m.room.member", dan.user_id):
            since = (await alice.syncs(since, timeout=LONG_MS))["next_batch"]
        content = await alice.reads_state(room_id, "m.room.member", dan.user_id)
        assert content["membership"] == "invite"
        # It gets there as well if it was away at that time.
        running = two[1].running
        head = await running.rooms.heads.head(room_id)
        assert head is not None
        entry = head.state["m.room.member", dan.user_id]
        stay = outbound.Stay(head.room_nid, 0, running.base.tail.position)
        async with running.base.database.connection() as connection:
            missed = await outbound.events_for(connection, two[1].name, two[0].name, [stay], 100)
        assert entry.event_nid in [each.event_nid for each in missed]
        await dan.joins(room_id)


async def test_who_shows_the_signature_joins_through_the_inviters_server(
    two: list[NamedServer], identity: FakeIdentityServer, authority: Authority
) -> None:
    async with people(two, "alice", "carol") as [alice, carol]:
        room_id = await alice.creates_room(preset="private_chat")
        await Address(identity, authority, "carol").is_invited(alice, room_id)
        signed = identity.signs(carol.user_id, sender=alice.user_id)
        for wrong in (
            {**signed, "token": "other"},
            {**signed, "signatures": {}},
            {**signed, "sender": f"@x:{two[0].name}"},
        ):
            assert await answer_of(carol.joins(room_id, third_party_signed=wrong)) == FORBIDDEN
        identity.keys_are_valid = False
        assert await answer_of(carol.joins(room_id, third_party_signed=signed)) == FORBIDDEN
        identity.keys_are_valid = True
        assert await carol.joins(room_id, third_party_signed=signed) == room_id
        assert (await alice.reads_members(room_id))[carol.user_id] == "join"
        # Withdrawn, the invite lets nobody in any more.
        other = await alice.creates_room(preset="private_chat")
        await Address(identity, authority, "carol").is_invited(alice, other)
        signed = identity.signs(carol.user_id, sender=alice.user_id)
        await alice.sets(other, "m.room.third_party_invite", {}, identity.token)
        assert await answer_of(carol.joins(other, third_party_signed=signed)) == FORBIDDEN


async def has_state(client: Client, room_id: str, event_type: str, state_key: str) -> bool:
    state = await client.get(f"rooms/{quoted(room_id)}/state")
    return any((e["type"], e["state_key"]) == (event_type, state_key) for e in state)
