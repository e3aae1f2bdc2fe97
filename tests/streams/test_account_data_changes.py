"""Whose account data may be new to a client, without asking PostgreSQL."""

import pytest

from client_api.sync.account_data_stream import AccountDataChanges
from homeserver.storage import account_data, push_rules
from tests.streams.nodes import StreamNode

ALICE, BOB = "@alice:hs.example", "@bob:hs.example"


async def put(node: StreamNode, user_id: str, event_type: str = "a") -> int:
    async with node.database.transaction() as tx:
        position = await account_data.put(tx, user_id, 0, event_type, b"{}")
    await node.tail.reach(position)
    return position


async def put_rules(node: StreamNode, user_id: str) -> int:
    async with node.database.transaction() as tx:
        position = await push_rules.put(tx, user_id, b"{}")
    await node.tail.reach(position)
    return position


@pytest.mark.parametrize("event_type", ["a", "m.ignored_user_list", "push rules"])
async def test_who_has_changed_something_is_known(node: StreamNode, event_type: str) -> None:
    changes = AccountDataChanges(node.tail)
    before = node.tail.position
    if event_type == "push rules":
        position = await put_rules(node, ALICE)
    else:
        position = await put(node, ALICE, event_type)
    assert changes.may_be_after(ALICE, before)
    assert not changes.may_be_after(ALICE, position)
    assert not changes.may_be_after(BOB, before)


async def test_other_changes_of_a_user_are_none_of_account_data(node: StreamNode) -> None:
    changes = AccountDataChanges(node.tail)
    before = node.tail.position
    await node.changes(ALICE)
    assert not changes.may_be_after(ALICE, before)


async def test_before_what_memory_reaches_anything_may_have_changed(node: StreamNode) -> None:
    changes = AccountDataChanges(node.tail)
    before = node.tail.position
    await put(node, ALICE)
    node.tail._restart(node.tail.position)
    assert changes.may_be_after(BOB, before)
    assert not changes.may_be_after(BOB, node.tail.floor)


async def test_what_is_before_the_tail_is_forgotten(node: StreamNode) -> None:
    changes = AccountDataChanges(node.tail, max_users=1)
    await put(node, ALICE)
    node.tail._restart(node.tail.position)
    position = await put(node, BOB)
    assert changes._positions == {BOB: position}


async def test_what_the_tail_still_has_is_kept_whatever_the_limit(node: StreamNode) -> None:
    changes = AccountDataChanges(node.tail, max_users=1)
    before = node.tail.position
    await put(node, ALICE)
    await put(node, BOB)
    assert changes.may_be_after(ALICE, before)
    assert changes.may_be_after(BOB, before)
