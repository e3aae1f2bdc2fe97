"""Rooms of which only other servers tell.

Spec: server-server-api/#get_matrixfederationv1hierarchyroomid,
server-server-api/#post_matrixfederationv1publicrooms
"""

import msgspec
import pytest

from homeserver.errors import Forbidden, NotFound, RemoteError
from homeserver.protocol.identifiers import ServerName
from homeserver.rooms.aliases import RoomAliases
from homeserver.rooms.create import NewRoom
from homeserver.rooms.presets import StateDraft
from homeserver.services.hierarchy import Hierarchy, HierarchyQuery
from homeserver.services.public_rooms import DirectoryQuery, PublicRooms
from homeserver.services.remote_spaces import MAX_CHILDREN, MAX_SERVERS, RemoteSpaces
from homeserver.services.room_facts import KnownRooms
from homeserver.services.room_summary import RoomSummary
from homeserver.services.spaces_for_servers import SpacesForServers
from tests.support.clock import FakeClock
from tests.support.node import running_node, user

ALICE, BOB = user("alice"), user("bob")
FAR = "far.example"


def room(name, /, **fields):
    """A public room of another server as it tells of it."""
    return {
        "room_id": f"!{name}:{FAR}",
        "name": name,
        "num_joined_members": 7,
        "world_readable": False,
        "guest_can_join": False,
        "join_rule": "public",
        **fields,
    }


def child(name, via=(FAR,), **content):
    return {
        "type": "m.space.child",
        "state_key": f"!{name}:{FAR}",
        "sender": f"@a:{FAR}",
        "origin_server_ts": 5,
        "content": {"via": list(via), **content},
    }


def space(name, /, *children, **fields):
    return room(name, room_type="m.space", children_state=list(children), **fields)


class OtherServers:
    """What other servers would answer, and what they were asked."""

    def __init__(self):
        self.spaces = {}
        self.directory = {"chunk": []}
        self.asked = []

    def tells(self, told, children=(), inaccessible=()):
        self.spaces[told["room_id"]] = {
            "room": told,
            "children": list(children),
            "inaccessible_children": list(inaccessible),
        }

    async def room_of_alias(self, alias):
        return f"!{alias[1:].split(':')[0]}:{FAR}", [ServerName(FAR)]

    async def public_rooms(self, server, query):
        self.asked.append((server, query))
        return self.directory

    async def space_hierarchy(self, room_id, servers):
        self.asked.append((room_id, tuple(servers)))
        answer = self.spaces.get(room_id)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Here:
    """A server with others around it."""

    def __init__(self, node):
        self.node = node
        self.others = OtherServers()
        self.clock = FakeClock()
        base, name = node.base, ServerName("localhost")
        known = KnownRooms(base.database, base.tail, name)
        remote = RemoteSpaces(self.others, self.clock)
        aliases = RoomAliases(base.database, base.clock, name, self.others)
        self.hierarchy = Hierarchy(known, remote, base.user_rooms)
        self.summary = RoomSummary(known, aliases, remote, base.user_rooms)
        self.for_servers = SpacesForServers(base.database, known)
        self.public_rooms = PublicRooms(base.database, known, self.others, name)

    async def makes_space(self, *names, preset="public_chat", via=(FAR,)):
        state = [
            StateDraft("m.space.child", {"via": list(via)}, f"!{name}:{FAR}") for name in names
        ]
        new = NewRoom(
            preset=preset,
            room_version="11",
            creation_content={"type": "m.space"},
            initial_state=tuple(state),
        )
        return await self.node.rooms.create.create(ALICE, new)

    async def explores(self, root, requester=ALICE, **query):
        page = await self.hierarchy.page(requester, root, HierarchyQuery(**query))
        return [each.facts.name for each in page.rooms[1:]]


@pytest.fixture
async def here(database_dsn, tmp_path):
    async with running_node(database_dsn, tmp_path) as node:
        yield Here(node)


async def test_trees_go_on_at_other_servers(here):
    here.others.tells(space("a", child("b"), child("c")), [room("b"), space("c")])
    here.others.tells(space("c", child("d")), [room("d")])
    root = await here.makes_space("a")
    assert await here.explores(root) == ["a", "b", "c", "d"]
    # What the server of a space has told of its children is not asked for again.
    assert [asked for asked, _ in here.others.asked] == [f"!a:{FAR}", f"!c:{FAR}"]


async def test_depth_is_kept_at_other_servers(here):
    here.others.tells(space("a", child("b")), [space("b")])
    here.others.tells(space("b", child("c")), [room("c")])
    root = await here.makes_space("a")
    assert await here.explores(root, max_depth=1) == ["a"]
    assert await here.explores(root, max_depth=2) == ["a", "b"]
    assert [asked for asked, _ in here.others.asked] == [f"!a:{FAR}"]


async def test_answers_are_kept_for_a_while(here):
    here.others.tells(room("a"))
    root = await here.makes_space("a", "b")
    for _ in range(2):
        assert await here.explores(root) == ["a"]
    assert len(here.others.asked) == 2
    here.clock.tick(60)
    here.others.tells(room("b"))
    assert await here.explores(root) == ["a", "b"]
    here.others.tells(room("a", name="renamed"))
    here.clock.tick(600)
    assert await here.explores(root) == ["renamed", "b"]


async def test_rooms_that_the_user_may_not_join_are_left_out(here):
    here.others.tells(
        space("a", *(child(name) for name in "bcdefg")),
        [
            room("b", join_rule="invite"),
            room("c", join_rule="knock"),
            room("d", join_rule="restricted", allowed_room_ids=["!no:x"]),
            room("e", join_rule="invite", world_readable=True),
            room("f", join_rule="of the future"),
            room("g", join_rule="restricted", allowed_room_ids=["!no:x", "$"]),
        ],
        [f"!g:{FAR}"],
    )
    root = await here.makes_space("a")
    assert await here.explores(root) == ["a", "c", "e"]


async def test_a_restricted_room_is_shown_to_members_of_the_allowed_room(here):
    root = await here.makes_space("a")
    here.others.tells(room("a", join_rule="restricted", allowed_room_ids=[root]))
    assert await here.explores(root) == ["a"]
    assert await here.explores(root, BOB) == []


async def test_what_this_server_knows_itself_counts(here):
    inner = await here.makes_space()
    here.others.tells(
        space("a", {**child("x"), "state_key": inner}), [room("x", room_id=inner, name="a lie")]
    )
    root = await here.makes_space("a")
    assert await here.explores(root) == ["a", None]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"room": 5},
        {"room": room("other"), "children": []},
        {"room": {**room("a"), "num_joined_members": "7"}},
        {"room": {**room("a"), "room_id": 5}},
        {"room": {"room_id": f"!a:{FAR}"}},
        RemoteError(FAR, "went away"),
    ],
)
async def test_answers_that_tell_nothing_hide_the_room(here, answer):
    here.others.spaces[f"!a:{FAR}"] = answer
    root = await here.makes_space("a")
    assert await here.explores(root) == []


async def test_odd_parts_of_answers_are_left_out(here):
    odd = [5, None, {}, {**child("b"), "origin_server_ts": True}, {**child("b"), "sender": 1}]
    odd += [{**child("b"), "type": "m.room.name"}, {**child("b"), "content": 5}]
    here.others.tells(space("a", *odd, child("c"), topic=None, avatar_url="javascript:x"))
    here.others.spaces[f"!a:{FAR}"] |= {"children": [5, room("c"), {}], "inaccessible_children": 5}
    root = await here.makes_space("a")
    assert await here.explores(root) == ["a", "c"]


async def test_endless_answers_are_cut(here):
    names = [f"r{number}" for number in range(MAX_CHILDREN + 5)]
    here.others.tells(space("a", *map(child, names)), map(room, names))
    root = await here.makes_space("a")
    page = await here.hierarchy.page(ALICE, root, HierarchyQuery(limit=100))
    gathered = len(page.rooms)
    while page.next_batch:
        query = HierarchyQuery(limit=100, start=page.next_batch)
        page = await here.hierarchy.page(ALICE, root, query)
        gathered += len(page.rooms)
    assert gathered == 2 + MAX_CHILDREN


async def test_few_servers_are_asked_and_only_valid_ones(here):
    via = ["not a server", "", *(f"s{number}.example" for number in range(20))]
    root = await here.makes_space("a", via=via)
    await here.explores(root)
    ((_, servers),) = here.others.asked
    assert servers == tuple(f"s{number}.example" for number in range(MAX_SERVERS))


async def test_a_space_of_another_server_is_explored(here):
    here.others.tells(space("a", child("b")), [room("b")])
    assert await here.explores(f"!a:{FAR}") == ["b"]
    with pytest.raises(Forbidden):
        await here.explores(f"!unknown:{FAR}")


async def test_a_room_of_another_server_is_summarized_to_users_only(here):
    here.others.tells(room("a", topic="Topic", room_version="9", encryption="m.megolm"))
    for name in (f"!a:{FAR}", f"#a:{FAR}"):
        found, membership = await here.summary.of(ALICE, name, [])
        assert (found.name, found.topic, found.room_version) == ("a", "Topic", "9")
        assert (found.num_joined_members, membership) == (7, "leave")
    asked = len(here.others.asked)
    with pytest.raises(NotFound):
        await here.summary.of(None, f"!a:{FAR}", [])
    assert len(here.others.asked) == asked


@pytest.mark.parametrize("is_told", [True, False])
async def test_an_invite_tells_of_its_room_when_no_server_does(here, is_told):
    stripped = [
        {"type": "m.room.create", "state_key": "", "content": {"room_version": "10"}},
        {"type": "m.room.name", "state_key": "", "content": {"name": "stripped"}},
        {"type": "m.room.topic", "state_key": "", "content": "odd"},
        {"type": 5, "state_key": "", "content": {}},
    ]
    async with here.node.base.database.transaction() as tx:
        await tx.execute(
            """
            INSERT INTO rooms (room_nid, room_id, room_version, version, depth, extremities,
                               state_nid)
            VALUES (900, $1, '10', 0, 0, '{}', 0)
            """,
            f"!a:{FAR}",
        )
        await tx.execute(
            """
            INSERT INTO memberships (user_id, room_nid, membership, event_nid, sender, pos,
                                     stripped_state)
            VALUES ($1, 900, 'invite', 1, $2, 1, $3)
            """,
            ALICE.user_id,
            f"@b:{FAR}",
            msgspec.json.encode(stripped),
        )
    if is_told:
        here.others.tells(room("a", name="told", join_rule="invite"))
    found, membership = await here.summary.of(ALICE, f"!a:{FAR}", [])
    assert (found.name, membership) == ("told" if is_told else "stripped", "invite")
    with pytest.raises(NotFound):
        await here.summary.of(BOB, f"!a:{FAR}", [])


async def test_the_directory_of_another_server_is_passed_on(here):
    here.others.directory = {
        "chunk": [room("a", topic=None, extra=1), {"room_id": "x"}, 5, room("b", name=["x"])],
        "next_batch": "more",
        "prev_batch": 5,
        "total_room_count_estimate": "many",
    }
    query = DirectoryQuery(limit=5, since="here", search_term="x", room_types=(None, "m.space"))
    page = await here.public_rooms.page(query, FAR)
    assert [each.name for each in page.chunk] == ["a"]
    assert page.next_batch == "more"
    expected = {
        "limit": 5,
        "since": "here",
        "filter": {"generic_search_term": "x", "room_types": [None, "m.space"]},
    }
    assert here.others.asked == [(FAR, expected)]
    here.others.directory = {"chunk": None}
    with pytest.raises(RemoteError):
        await here.public_rooms.page(DirectoryQuery(), FAR)


async def test_other_servers_are_told_what_their_users_could_join(here):
    async def makes_room(rule, **content):
        state = (StateDraft("m.room.join_rules", {"join_rule": rule, **content}),)
        new = NewRoom(preset="private_chat", room_version="11", initial_state=state)
        return await here.node.rooms.create.create(ALICE, new)

    root = await here.makes_space("unknown")
    own, far = ServerName("localhost"), ServerName(FAR)
    allow = [{"type": "m.room_membership", "room_id": root}]
    children = {
        "public": await makes_room("public"),
        "knock": await makes_room("knock"),
        "invite": await makes_room("invite"),
        "restricted": await makes_room("restricted", allow=allow),
    }
    for name, room_id in children.items():
        content = {"via": ["localhost"], "suggested": name in ("knock", "invite")}
        await here.node.rooms.send.state(ALICE, root, "m.space.child", room_id, content)

    def names(rooms):
        return {name for name, room_id in children.items() if room_id in rooms}

    told = await here.for_servers.of(far, root, suggested_only=False)
    assert names({each.room_id for each in told.children}) == {"public", "knock"}
    assert names(told.inaccessible_children) == {"invite", "restricted"}
    assert len(told.children_state) == 5
    told = await here.for_servers.of(far, root, suggested_only=True)
    assert names({each.room_id for each in told.children}) == {"knock"}
    assert names(told.inaccessible_children) == {"invite"}
    # A server whose users are in the rooms is told of all of them.
    told = await here.for_servers.of(own, root, suggested_only=False)
    assert names({each.room_id for each in told.children}) == set(children)
    for unknown in (children["invite"], f"!unknown:{FAR}"):
        with pytest.raises(NotFound):
            await here.for_servers.of(far, unknown, suggested_only=False)


async def test_other_servers_are_not_told_of_rooms_without_federation(here):
    new = NewRoom(
        preset="public_chat",
        room_version="11",
        is_published=True,
        creation_content={"m.federate": False},
    )
    closed = await here.node.rooms.create.create(ALICE, new)
    with pytest.raises(NotFound):
        await here.for_servers.of(ServerName(FAR), closed, suggested_only=False)
    assert len((await here.public_rooms.own_page(DirectoryQuery())).chunk) == 1
    assert (await here.public_rooms.own_page(DirectoryQuery(), for_servers=True)).chunk == []
