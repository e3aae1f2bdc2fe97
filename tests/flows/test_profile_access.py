"""What an administrator decides about profiles.

Spec: client-server-api/#profiles, client-server-api/#mprofile_fields-capability
"""

import contextlib

import pytest

from homeserver.config.sections.profiles import ProfilesSection
from homeserver.protocol.identifiers import UserID
from tests.support.client import answer_of, clients_of, quoted, refused
from tests.support.server import server_of

READ = 200
DENIED = (403, "M_FORBIDDEN")
NEEDS_LOGIN = (401, "M_MISSING_TOKEN")
# Which rooms are open is noted a moment after it is so.
ATTEMPTS = 500


@pytest.fixture
def server_with(database_dsn, tmp_path):
    """Runs a server with settings of the section, and gives it with its clients."""

    @contextlib.asynccontextmanager
    async def run(**settings):
        section = ProfilesSection(**settings)
        async with (
            server_of(database_dsn, tmp_path, profiles=section) as server,
            clients_of(server.url) as clients,
        ):
            yield server, clients

    return run


async def reads(client, user_id):
    """Return the one answer that reading a whole profile and reading a field get."""
    path = f"profile/{quoted(user_id)}"
    answers = {await answer_of(client.get(each)) for each in (path, f"{path}/displayname")}
    (answer,) = answers
    return answer


async def reads_at_last(client, user_id):
    """Read until the profile may be read."""
    for _ in range(ATTEMPTS):
        if await answer_of(client.get(f"profile/{quoted(user_id)}")) == READ:
            break
    return await reads(client, user_id)


async def test_nobody_in_particular_makes_this_server_ask_others(server_with):
    async with server_with() as (_, clients):
        assert await reads(clients.nobody(), "@alice:elsewhere.example") == NEEDS_LOGIN


async def test_profiles_may_be_for_users_only(server_with):
    async with server_with(readable_by="users") as (_, clients):
        alice, bob = await clients.user("alice"), await clients.user("bob")
        assert await reads(clients.nobody(), alice.user_id) == NEEDS_LOGIN
        assert await reads(bob, alice.user_id) == READ
        assert await reads(bob, "@nobody:hs.example") == (404, "M_NOT_FOUND")


async def test_profiles_may_be_for_those_who_share_a_room(server_with):
    async with server_with(readable_by="acquaintances") as (_, clients):
        alice, bob = await clients.user("alice"), await clients.user("bob")
        assert await reads(clients.nobody(), alice.user_id) == NEEDS_LOGIN
        assert await reads(alice, alice.user_id) == READ
        assert await reads(bob, alice.user_id) == DENIED
        assert await reads(bob, "@nobody:hs.example") == DENIED
        assert await reads(bob, "@nobody:elsewhere.example") == DENIED
        room = await alice.creates_room()
        assert await reads(bob, alice.user_id) == DENIED
        await alice.invites(room, bob)
        assert (await reads(bob, alice.user_id), await reads(alice, bob.user_id)) == (READ, READ)
        await bob.joins(room)
        assert (await reads(bob, alice.user_id), await reads(alice, bob.user_id)) == (READ, READ)
        await bob.leaves(room)
        assert (await reads(bob, alice.user_id), await reads(alice, bob.user_id)) == (
            DENIED,
            DENIED,
        )


@pytest.mark.parametrize("opened_by", ["public", "world_readable"])
async def test_members_of_open_rooms_are_known_to_all(server_with, opened_by):
    async with server_with(readable_by="acquaintances") as (_, clients):
        alice, bob = await clients.user("alice"), await clients.user("bob")
        room = await alice.creates_room()
        assert await reads(bob, alice.user_id) == DENIED
        if opened_by == "public":
            await alice.sets(room, "m.room.join_rules", {"join_rule": "public"})
        else:
            visibility = {"history_visibility": "world_readable"}
            await alice.sets(room, "m.room.history_visibility", visibility)
        assert await reads_at_last(bob, alice.user_id) == READ
        assert await reads(alice, bob.user_id) == DENIED
        await alice.leaves(room)
        assert await reads(bob, alice.user_id) == DENIED


async def test_administrators_read_all_profiles(server_with):
    async with server_with(readable_by="acquaintances") as (server, clients):
        alice, bob = await clients.user("alice"), await clients.user("bob")
        await server.accounts.accounts.set_admin(UserID(bob.user_id), is_admin=True)
        assert await reads(bob, alice.user_id) == READ
        assert await reads(bob, "@nobody:hs.example") == (404, "M_NOT_FOUND")


async def test_fixed_fields_cannot_be_changed_and_capabilities_tell(server_with):
    async with server_with(fixed_fields=("displayname", "org.example.job")) as (_, clients):
        alice, guest = await clients.user("alice"), await clients.guest()
        for client, name in (
            (alice, "displayname"),
            (alice, "org.example.job"),
            (guest, "displayname"),
        ):
            path = f"profile/{quoted(client.user_id, name)}"
            with refused(403, "M_FORBIDDEN"):
                await client.put(path, {name: "x"})
            with refused(403, "M_FORBIDDEN"):
                await client.delete(path)
        await alice.put(f"profile/{quoted(alice.user_id, 'm.tz')}", {"m.tz": "UTC"})
        expected = {"displayname": "alice", "m.tz": "UTC"}
        assert await alice.get(f"profile/{quoted(alice.user_id)}") == expected

        told = (await alice.get("capabilities"))["capabilities"]
        fixed = {"enabled": True, "disallowed": ["displayname", "org.example.job"]}
        assert told["m.profile_fields"] == told["uk.tcpip.msc4133.profile_fields"] == fixed
        assert told["m.set_displayname"] == {"enabled": False}
        assert "m.set_avatar_url" not in told
        told = (await guest.get("capabilities"))["capabilities"]
        assert told["m.profile_fields"] == {"enabled": True, "allowed": []}
