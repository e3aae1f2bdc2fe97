"""Which users have other than the default push rules, or ignore somebody."""

import msgspec
import pytest
from msgspec import UNSET

from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.protocol.push_rules.model import RuleKind
from homeserver.protocol.push_rules.user_rules import UserRules, put_rule
from homeserver.storage import account_data, push_rules
from homeserver.streams.personal_rules import PersonalRuleIndex
from tests.streams.nodes import StreamNode

ALICE, BOB, CAROL = (UserID(f"@{name}:hs.example") for name in ("alice", "bob", "carol"))
ROOM, OTHER = RoomID("!room:hs.example"), RoomID("!other:hs.example")


@pytest.fixture
def index(node: StreamNode) -> PersonalRuleIndex:
    return PersonalRuleIndex(node.database, node.tail)


async def muting(node: StreamNode, user_id: UserID, *rooms: RoomID) -> int:
    """Have a user mute some rooms, and none else."""
    rules = UserRules()
    for room in rooms:
        rules = put_rule(rules, RuleKind.ROOM, room, {"actions": []})
    async with node.database.transaction() as tx:
        position = await push_rules.put(tx, user_id, msgspec.json.encode(rules))
    await node.tail.reach(position)
    return position


async def ignoring(node: StreamNode, user_id: UserID, content: bytes) -> None:
    async with node.database.transaction() as tx:
        position = await account_data.put(tx, user_id, 0, "m.ignored_user_list", content)
    await node.tail.reach(position)


def ignored_users(*others: UserID) -> bytes:
    return msgspec.json.encode({"ignored_users": {other: {} for other in others}})


async def is_muted(index: PersonalRuleIndex, user_id: UserID, room: RoomID) -> bool:
    personal = await index.of_user(user_id)
    in_room = None if personal is None else index.in_room(personal, room)
    return in_room is not None and in_room.is_silent


async def test_only_users_with_other_than_the_defaults_are_found(node, index):
    await muting(node, ALICE, ROOM)
    await ignoring(node, BOB, ignored_users(ALICE))
    found = await index.of_users([ALICE, BOB, CAROL])
    assert found.keys() == {ALICE, BOB}
    assert (found[ALICE].ignored, found[BOB].ignored) == (frozenset(), {ALICE})
    assert await index.of_user(CAROL) is None
    assert index.known(CAROL) is None


async def test_rules_that_are_the_defaults_again_are_none(node, index):
    await muting(node, ALICE, ROOM)
    await muting(node, ALICE)
    assert await index.of_user(ALICE) is None


async def test_what_counts_in_a_room_is_the_default_elsewhere(node, index):
    await muting(node, ALICE, ROOM)
    personal = await index.of_user(ALICE)
    assert index.in_room(personal, OTHER) is None
    assert index.in_room(personal, ROOM).is_silent


async def test_users_who_have_muted_the_same_room_share_its_rules(node, index):
    await muting(node, ALICE, ROOM)
    await muting(node, BOB, OTHER, ROOM)
    alices, bobs = (await index.of_users([ALICE, BOB])).values()
    assert index.in_room(alices, ROOM).compiled is index.in_room(bobs, ROOM).compiled


async def test_changes_are_followed(node, index):
    assert not await is_muted(index, ALICE, ROOM)
    await muting(node, ALICE, ROOM)
    assert await is_muted(index, ALICE, ROOM)
    await muting(node, ALICE)
    assert not await is_muted(index, ALICE, ROOM)
    await ignoring(node, ALICE, ignored_users(BOB))
    assert (await index.of_user(ALICE)).ignored == {BOB}


async def test_changes_of_other_nodes_are_followed(node, index, other):
    assert not await is_muted(index, ALICE, ROOM)
    position = await muting(other, ALICE, ROOM)
    await node.tail.reach(position)
    assert await is_muted(index, ALICE, ROOM)


async def test_what_changes_while_it_is_read_is_not_kept(node, index, monkeypatch):
    read = account_data.ignored_user_lists

    async def read_and_change(connection, user_ids):
        found = await read(connection, user_ids)
        await muting(node, BOB, ROOM)
        return found

    monkeypatch.setattr(account_data, "ignored_user_lists", read_and_change)
    assert await index.of_user(ALICE) is None
    monkeypatch.setattr(account_data, "ignored_user_lists", read)
    assert index.known(ALICE) is UNSET
    await index.of_user(ALICE)
    assert index.known(ALICE) is None


async def test_other_account_data_is_not_worth_reading_again(node, index):
    await index.of_user(ALICE)
    async with node.database.transaction() as tx:
        position = await account_data.put(tx, ALICE, 0, "m.direct", b"{}")
        position = await account_data.put(tx, ALICE, 7, "m.ignored_user_list", b"{}")
    await node.tail.reach(position)
    assert index.known(ALICE) is None


async def test_after_a_gap_everything_is_read_again(node, index):
    await index.of_user(ALICE)
    node.tail._restart(node.tail.position)
    assert index.known(ALICE) is UNSET


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b'{"ignored_users":null}',
        b'{"ignored_users":[]}',
        b'{"ignored_users":["@bob:hs.example"]}',
        b'{"ignored_users":{}}',
        b'{"ignored_users":{"@alice:hs.example":{}}}',
        b"[]",
        b"1",
    ],
)
async def test_who_ignores_nobody_else_has_the_defaults(node, index, content):
    await ignoring(node, ALICE, content)
    assert await index.of_user(ALICE) is None


async def test_the_values_of_ignored_users_do_not_matter(node, index):
    await ignoring(node, ALICE, b'{"ignored_users":{"@bob:hs.example":1,"nobody":null},"x":1}')
    assert (await index.of_user(ALICE)).ignored == {BOB, "nobody"}


async def test_memory_has_a_limit(node):
    index = PersonalRuleIndex(node.database, node.tail, max_weight=5)
    await ignoring(node, ALICE, ignored_users(BOB, CAROL))
    for user_id in (ALICE, BOB, CAROL):
        await index.of_user(user_id)
    assert index.known(ALICE) is not UNSET
    await index.of_user(UserID("@dave:hs.example"))
    assert index.known(BOB) is UNSET
    assert index.known(ALICE).ignored == {BOB, CAROL}


async def test_a_user_who_is_heavier_than_the_limit_is_served_all_the_same(node):
    index = PersonalRuleIndex(node.database, node.tail, max_weight=2)
    await ignoring(node, ALICE, ignored_users(BOB, CAROL))
    assert (await index.of_user(ALICE)).ignored == {BOB, CAROL}
    assert index.known(ALICE).ignored == {BOB, CAROL}
