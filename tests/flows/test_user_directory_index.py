"""What the user directory learns from the log. Spec: client-server-api/#user-directory"""

import pytest

from homeserver.config.sections.user_directory import UserDirectorySection
from homeserver.protocol.identifiers import ServerName
from homeserver.rooms.create import NewRoom
from homeserver.services.user_directory import UserDirectory
from homeserver.services.user_directory_index import FOLLOWER_NAME, UserDirectoryIndex
from homeserver.storage.log import append_user_change
from homeserver.streams.entries import PROFILE_CHANGED
from homeserver.streams.follower import Stretch
from homeserver.streams.leases import Leases
from tests.support.node import Node, running_node, user

ALICE, BOB, CAROL = user("alice"), user("bob"), user("carol")


class Profiles:
    """Profiles that the test writes."""

    def __init__(self):
        self.fields = {}

    async def member_fields(self, user_id):
        return self.fields.get(user_id, {})


class Directory:
    """The directory of a server, which learns when the test says so."""

    def __init__(self, node: Node, server_name: str):
        self.node = node
        self.profiles = Profiles()
        self.database = node.base.database
        self.index = UserDirectoryIndex(self.database, self.profiles, ServerName(server_name))
        self.directory = UserDirectory(
            self.database, node.base.user_rooms, self.index, UserDirectorySection()
        )
        self.leases = Leases(self.database, node.base.clock, "node")
        self.position = 0

    async def learns(self):
        await self.leases.add(FOLLOWER_NAME, at_head=False)
        await self.leases.renew({FOLLOWER_NAME: self.position})
        tail = self.node.base.tail
        upto = tail.position
        entries = [e for e in await tail.between(self.position, upto) if self.index.concerns(e)]
        stretch = Stretch(entries, self.leases, FOLLOWER_NAME, self.position, upto)
        await self.index.handle(stretch)
        self.position = upto

    async def finds(self, requester, term):
        await self.learns()
        found = await self.directory.search(requester, term, 10)
        return {u.user_id.split(":")[0]: (u.display_name, u.avatar_url) for u in found.users}

    async def changes_profile(self, requester, **fields):
        self.profiles.fields[requester.user_id] = fields
        async with self.database.transaction() as tx:
            pos = await append_user_change(tx, requester.user_id, PROFILE_CHANGED)
        await self.node.base.tail.reach(pos)

    async def makes_room(self, requester, preset="private_chat", invite=()):
        room = NewRoom(preset=preset, room_version="12", invite=tuple(u.user_id for u in invite))
        return await self.node.rooms.create.create(requester, room)

    async def joins(self, requester, room_id, name, avatar=None):
        content = {"membership": "join", "displayname": name, "avatar_url": avatar}
        memberships = self.node.rooms.memberships
        return await memberships.set_member_event(requester, room_id, requester.user_id, content)


@pytest.fixture
async def node(database_dsn, tmp_path):
    async with running_node(database_dsn, tmp_path) as running:
        yield running


@pytest.fixture
def here(node):
    """The directory of the users' own server."""
    return Directory(node, "localhost")


@pytest.fixture
def elsewhere(node):
    """The directory of a server whose users Alice, Bob and Carol are not."""
    return Directory(node, "elsewhere.example")


async def test_users_of_the_server_are_known_by_their_profile(here):
    await here.changes_profile(BOB, displayname="Robert Paulson", avatar_url="mxc://x/y")
    room = await here.makes_room(BOB, "public_chat")
    await here.joins(BOB, room, "nickname of this room")
    assert await here.finds(ALICE, "paul") == {"@bob": ("Robert Paulson", "mxc://x/y")}
    assert await here.finds(ALICE, "nickname") == {}
    await here.changes_profile(BOB, displayname="Bobby")
    assert await here.finds(ALICE, "paul") == {}
    assert await here.finds(ALICE, "bobby") == {"@bob": ("Bobby", None)}
    await here.changes_profile(BOB)
    assert await here.finds(ALICE, "bob") == {"@bob": (None, None)}


async def test_all_words_of_a_term_have_to_be_found(here):
    await here.changes_profile(BOB, displayname="Robert Paulson")
    await here.changes_profile(CAROL, displayname="Robert Redford")
    for person in (BOB, CAROL):
        await here.makes_room(person, "public_chat")
    assert set(await here.finds(ALICE, "rob")) == {"@bob", "@carol"}
    assert set(await here.finds(ALICE, "rob red")) == {"@carol"}
    assert await here.finds(ALICE, "rob nobody") == {}


async def test_whole_words_come_before_beginnings_and_profiles_before_bare_ids(here):
    await here.changes_profile(BOB, displayname="Caroline")
    people = [BOB, CAROL, user("carola"), user("carolb")]
    await here.changes_profile(people[3], displayname="B")
    for person in people:
        await here.makes_room(person, "public_chat")
    assert list(await here.finds(ALICE, "carol")) == ["@carol", "@bob", "@carolb", "@carola"]


async def test_users_of_other_servers_are_known_by_what_rooms_tell(elsewhere):
    room = await elsewhere.makes_room(BOB, "public_chat")
    await elsewhere.joins(BOB, room, "Bob in the open", "mxc://x/y")
    assert await elsewhere.finds(ALICE, "open") == {"@bob": ("Bob in the open", "mxc://x/y")}
    await elsewhere.joins(BOB, room, "Robert")
    assert await elsewhere.finds(ALICE, "open") == {}
    assert await elsewhere.finds(ALICE, "robert") == {"@bob": ("Robert", None)}


async def test_a_name_told_in_a_closed_room_stays_in_it(elsewhere):
    closed = await elsewhere.makes_room(BOB, invite=[CAROL])
    await elsewhere.joins(CAROL, closed, "Carol")
    await elsewhere.joins(BOB, closed, "secret name")
    other = await elsewhere.makes_room(ALICE, invite=[BOB])
    # The newest name is from the room with Alice, whom Carol does not share.
    await elsewhere.joins(BOB, other, "alias")
    assert await elsewhere.finds(ALICE, "alias") == {"@bob": ("alias", None)}
    assert await elsewhere.finds(CAROL, "alias") == {}
    assert await elsewhere.finds(CAROL, "bob") == {"@bob": (None, None)}
    open_room = await elsewhere.makes_room(BOB, "public_chat")
    await elsewhere.joins(BOB, open_room, "known to all")
    await elsewhere.joins(BOB, closed, "secret again")
    assert await elsewhere.finds(CAROL, "known") == {"@bob": ("known to all", None)}
    assert await elsewhere.finds(CAROL, "secret") == {}


async def test_a_redacted_name_is_forgotten(elsewhere):
    room = await elsewhere.makes_room(BOB, "public_chat")
    event_id = await elsewhere.joins(BOB, room, "Regretted")
    assert await elsewhere.finds(ALICE, "regret") == {"@bob": ("Regretted", None)}
    await elsewhere.node.rooms.send.redaction(BOB, room, event_id, "txn", {})
    assert await elsewhere.finds(ALICE, "regret") == {}
    assert await elsewhere.finds(ALICE, "bob") == {"@bob": (None, None)}


@pytest.mark.parametrize("name", [5, ["x"], "", " ", "\0", "a\0b", "x" * 20_000])
async def test_names_of_any_shape_do_no_harm(elsewhere, name):
    room = await elsewhere.makes_room(BOB, "public_chat")
    await elsewhere.joins(BOB, room, name, {"url": 1})
    (found,) = (await elsewhere.finds(ALICE, "bob")).values()
    assert found[0] is None or len(found[0]) <= 256
    assert found[1] is None


async def test_what_is_learned_twice_is_known_once(elsewhere):
    room = await elsewhere.makes_room(BOB, "public_chat")
    await elsewhere.joins(BOB, room, "Robert")
    assert len(await elsewhere.finds(ALICE, "robert")) == 1
    entries = await elsewhere.node.base.tail.between(0, elsewhere.position)
    concerning = [entry for entry in entries if elsewhere.index.concerns(entry)]
    # As after a crash between two nodes: from the beginning, by a follower of another name.
    await elsewhere.leases.add("again", at_head=False)
    await elsewhere.leases.renew({"again": 0})
    again = Stretch(concerning, elsewhere.leases, "again", 0, elsewhere.position)
    await elsewhere.index.handle(again)
    assert await elsewhere.finds(ALICE, "robert") == {"@bob": ("Robert", None)}
