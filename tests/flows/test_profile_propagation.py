"""How rooms hear of profiles, whatever happens in between.

Spec: client-server-api/#events-on-change-of-profile-information
"""

import pytest

from homeserver.config.sections.server import ServerSection
from homeserver.errors import Forbidden, MatrixError
from homeserver.protocol.identifiers import ServerName
from homeserver.rooms.create import NewRoom
from homeserver.rooms.local_only import NoPeers
from homeserver.services.profile_propagation import FOLLOWER_NAME, ProfilePropagation
from homeserver.services.profiles import Profiles
from homeserver.storage import accounts
from homeserver.storage.accounts import NewAccountRow
from homeserver.storage.log import append_user_change
from homeserver.streams.entries import PROFILE_CHANGED
from homeserver.streams.follower import Stretch
from homeserver.streams.leases import Leases
from tests.support.node import running_node, user
from tests.support.server import server_of

ALICE, BOB = user("alice"), user("bob")
ATTEMPTS = 2_000


class WrittenProfiles:
    """Profiles that the test writes."""

    def __init__(self):
        self.fields = {}

    async def member_fields(self, user_id):
        return self.fields.get(user_id, {})


class Refusing:
    """Updates of rooms that fail in the rooms that the test names."""

    def __init__(self, updates):
        self._updates = updates
        self.errors = {}

    async def update(self, user_id, room_id):
        if room_id in self.errors:
            raise self.errors[room_id]
        await self._updates.update(user_id, room_id)


class Propagation:
    """The follower of a node; it works when the test says so."""

    def __init__(self, node, profiles):
        self.node = node
        self.profiles = profiles
        self.database = node.base.database
        self.updates = Refusing(node.rooms.member_profiles)
        self.work = ProfilePropagation(self.database, self.updates)
        self.leases = Leases(self.database, node.base.clock, "node")
        self.position = 0

    async def changes(self, requester, **fields):
        self.profiles.fields[requester.user_id] = fields
        async with self.database.transaction() as tx:
            pos = await append_user_change(tx, requester.user_id, PROFILE_CHANGED)
        await self.node.base.tail.reach(pos)

    async def tells(self):
        """Handle what has come, up to where the process may die: the position is not stored."""
        await self.leases.add(FOLLOWER_NAME, at_head=False)
        await self.leases.renew({FOLLOWER_NAME: self.position})
        tail = self.node.base.tail
        upto = tail.position
        entries = [e for e in await tail.between(self.position, upto) if self.work.concerns(e)]
        await self.work.handle(Stretch(entries, self.leases, FOLLOWER_NAME, self.position, upto))

    async def makes_room(self, requester, *members):
        room = NewRoom(preset="public_chat", room_version="12")
        room_id = await self.node.rooms.create.create(requester, room)
        for member in members:
            await self.node.rooms.memberships.join(member, room_id)
        return room_id

    async def told(self, room_id, member):
        """Return the content of a membership event."""
        return await membership_content(self.node.rooms, room_id, member)

    async def member_events(self):
        async with self.database.connection() as connection:
            return await connection.fetchval(
                "SELECT count(*) FROM events WHERE type = 'm.room.member'"
            )


async def membership_content(rooms, room_id, member):
    head = await rooms.heads.head(room_id)
    nid = head.state[("m.room.member", member.user_id)].event_nid
    return (await rooms.cache.get([nid]))[nid].content


async def make_accounts(database):
    async with database.transaction() as tx:
        for each in (ALICE, BOB):
            await accounts.insert(tx, NewAccountRow(each.user_id, 1))


@pytest.fixture
def profiles():
    return WrittenProfiles()


@pytest.fixture
async def node(database_dsn, tmp_path, profiles):
    async with running_node(database_dsn, tmp_path, profiles=profiles) as running:
        await make_accounts(running.base.database)
        yield running


@pytest.fixture
def propagation(node, profiles):
    return Propagation(node, profiles)


async def test_after_a_crash_the_same_again_writes_nothing_more(propagation):
    rooms = [await propagation.makes_room(BOB, ALICE) for _ in range(3)]
    await propagation.changes(ALICE, displayname="Al")
    before = await propagation.member_events()
    for _ in range(2):
        await propagation.tells()
        assert await propagation.member_events() == before + len(rooms)
    for room in rooms:
        expected = {"membership": "join", "displayname": "Al"}
        assert await propagation.told(room, ALICE) == expected


async def test_of_several_changes_rooms_hear_the_last(propagation):
    room = await propagation.makes_room(BOB, ALICE)
    for name in ("A", "Al", "Ali"):
        await propagation.changes(ALICE, displayname=name)
    await propagation.changes(BOB, displayname="Rob")
    before = await propagation.member_events()
    await propagation.tells()
    assert await propagation.member_events() == before + 2
    assert (await propagation.told(room, ALICE))["displayname"] == "Ali"
    assert (await propagation.told(room, BOB))["displayname"] == "Rob"


async def test_who_has_left_meanwhile_is_not_brought_back(propagation):
    room = await propagation.makes_room(BOB, ALICE)
    await propagation.changes(ALICE, displayname="Al")
    await propagation.node.rooms.memberships.leave(ALICE, room)
    before = await propagation.member_events()
    await propagation.tells()
    await propagation.node.rooms.member_profiles.update(ALICE.user_id, room)
    assert await propagation.member_events() == before


async def test_who_is_deactivated_does_not_lose_the_name_before_leaving(propagation):
    await propagation.changes(ALICE, displayname="Al")
    room = await propagation.makes_room(BOB, ALICE)
    async with propagation.database.transaction() as tx:
        await accounts.deactivate(tx, ALICE.user_id, 1, is_erased=False)
    await propagation.changes(ALICE)
    await propagation.tells()
    assert (await propagation.told(room, ALICE))["displayname"] == "Al"


async def test_a_room_that_refuses_does_not_keep_others_from_hearing(propagation):
    rooms = [await propagation.makes_room(BOB, ALICE) for _ in range(20)]
    propagation.updates.errors = {room: Forbidden() for room in rooms[:10]}
    await propagation.changes(ALICE, displayname="Al")
    await propagation.tells()
    for room in rooms[10:]:
        assert (await propagation.told(room, ALICE))["displayname"] == "Al"


async def test_a_room_that_is_too_busy_is_told_when_the_follower_tries_again(propagation):
    room = await propagation.makes_room(BOB, ALICE)
    propagation.updates.errors = {room: MatrixError(503, "M_UNKNOWN", "busy")}
    await propagation.changes(ALICE, displayname="Al")
    with pytest.raises(ExceptionGroup):
        await propagation.tells()
    propagation.updates.errors = {}
    await propagation.tells()
    assert (await propagation.told(room, ALICE))["displayname"] == "Al"


async def test_a_node_that_is_overtaken_does_not_bring_the_old_name_back(
    propagation, database_dsn, tmp_path
):
    room = await propagation.makes_room(BOB, ALICE)
    newer = WrittenProfiles()
    newer.fields[ALICE.user_id] = {"displayname": "new"}
    profiles = propagation.profiles

    async with running_node(database_dsn, tmp_path, profiles=newer) as other:

        async def overtaken(user_id):
            profiles.member_fields = newer.member_fields
            await other.rooms.member_profiles.update(user_id, room)
            return {"displayname": "old"}

        await propagation.changes(ALICE, displayname="old")
        profiles.member_fields = overtaken
        await propagation.tells()
    assert (await propagation.told(room, ALICE))["displayname"] == "new"


async def test_a_change_that_no_node_has_told_yet_is_told_by_the_next_that_starts(
    propagation, database_dsn, tmp_path
):
    base = propagation.node.base
    room = await propagation.makes_room(BOB, ALICE)
    service = Profiles(base.database, base.log_writer, NoPeers(), ServerName("localhost"))
    await service.put(ALICE.user_id, "displayname", {"displayname": "Al"})
    assert await propagation.told(room, ALICE) == {"membership": "join"}
    section = ServerSection(name="localhost", data_dir=tmp_path)
    async with server_of(database_dsn, tmp_path, server=section) as server:
        for _ in range(ATTEMPTS):
            content = await membership_content(server.rooms, room, ALICE)
            if "displayname" in content:
                break
            await base.tail.poll()
    assert content == {"membership": "join", "displayname": "Al"}
