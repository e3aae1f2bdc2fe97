"""Two nodes over one database: what one does counts on the other."""

from collections.abc import AsyncIterator

import pytest

from homeserver.protocol.identifiers import UserID
from homeserver.storage import log
from tests.flows.accounts.conftest import NodeMaker
from tests.support.account_node import AccountNode
from tests.support.clock import FakeClock

ALICE = UserID("@alice:localhost")


@pytest.fixture
async def other(node: AccountNode, node_with: NodeMaker) -> AsyncIterator[AccountNode]:
    async with node_with() as running:
        yield running


async def hears(node: AccountNode) -> None:
    """Let a node read the log as far as it goes."""
    async with node.base.database.connection() as connection:
        position = await log.head(connection)
    await node.base.tail.reach(position)


async def test_a_logout_on_one_node_is_heard_by_the_other(
    node: AccountNode, other: AccountNode
) -> None:
    token = (await node.register("alice"))["access_token"]
    await hears(other)
    assert await other.is_known(token)
    await node.call("POST", "logout", {}, token)
    assert not await node.is_known(token)
    # The other answers from memory until it has heard of it: that is what makes it fast.
    assert await other.is_known(token)
    await hears(other)
    assert not await other.is_known(token)


async def test_a_lost_wake_up_costs_a_second(
    node: AccountNode, other: AccountNode, clock: FakeClock
) -> None:
    token = (await node.register("alice"))["access_token"]
    await hears(other)
    assert await other.is_known(token)
    await node.call("POST", "logout", {}, token)
    async with node.base.database.connection() as connection:
        position = await log.head(connection)
    while other.base.tail.position < position:
        await clock.advance(1)
    assert not await other.is_known(token)


async def test_a_lock_on_one_node_is_heard_by_the_other(
    node: AccountNode, other: AccountNode
) -> None:
    token = (await node.register("alice"))["access_token"]
    await hears(other)
    assert (await other.whoami(token)).status == 200
    await node.layer.accounts.set_locked(ALICE, is_locked=True)
    await hears(other)
    assert (await other.whoami(token)).errcode == (401, "M_USER_LOCKED")
    await node.layer.accounts.set_locked(ALICE, is_locked=False)
    await hears(other)
    assert (await other.whoami(token)).status == 200


async def test_authentication_goes_on_on_another_node(
    node: AccountNode, other: AccountNode
) -> None:
    body = {"username": "alice", "password": "secret"}
    session = (await node.call("POST", "register", body)).json["session"]
    auth = {"type": "m.login.dummy", "session": session}
    made = await other.call("POST", "register", {**body, "auth": auth})
    assert made.json["user_id"] == ALICE
    again = await node.call("POST", "register", {**body, "auth": auth})
    assert again.json["user_id"] == ALICE


async def test_a_refresh_on_one_node_ends_the_old_token_on_the_other(
    node: AccountNode, other: AccountNode
) -> None:
    first = await node.register("alice", refresh_token=True)
    await hears(other)
    assert await other.is_known(first["access_token"])
    body = {"refresh_token": first["refresh_token"]}
    second = (await node.call("POST", "refresh", body)).json
    assert await node.is_known(second["access_token"])
    await hears(other)
    assert not await other.is_known(first["access_token"])
    assert await other.is_known(second["access_token"])


async def test_administrators_are_known_at_once(node: AccountNode) -> None:
    token = (await node.register("alice"))["access_token"]
    assert not (await node.requester(token)).is_admin
    await node.layer.accounts.set_admin(ALICE, is_admin=True)
    assert (await node.requester(token)).is_admin
