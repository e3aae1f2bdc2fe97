"""Spec: client-server-api/#refreshing-access-tokens"""

import asyncio
from typing import Any

import pytest

from homeserver.config.sections.sessions import SessionsSection
from homeserver.protocol.identifiers import UserID
from homeserver.services.expired_secrets import ExpiredSecrets
from tests.flows.accounts.conftest import NodeMaker
from tests.support.account_node import AccountNode, Answer
from tests.support.clock import FakeClock


@pytest.fixture
async def first(node: AccountNode) -> dict[str, Any]:
    """The tokens of Alice's phone."""
    return await node.register("alice", device_id="PHONE", refresh_token=True)


async def refresh(node: AccountNode, tokens: dict[str, Any]) -> Answer:
    return await node.call("POST", "refresh", {"refresh_token": tokens["refresh_token"]})


async def test_a_refresh_token_gives_a_new_pair_for_the_same_device(
    node: AccountNode, first: dict[str, Any]
) -> None:
    second = (await refresh(node, first)).json
    assert second["expires_in_ms"] == 3_600_000
    assert second["access_token"] != first["access_token"]
    assert second["refresh_token"] != first["refresh_token"]
    requester = await node.requester(second["access_token"])
    assert (requester.user_id, requester.device_id) == ("@alice:localhost", "PHONE")


async def test_the_old_tokens_count_until_the_new_ones_are_used(
    node: AccountNode, first: dict[str, Any]
) -> None:
    assert await node.is_known(first["access_token"])
    second = (await refresh(node, first)).json
    assert await node.is_known(first["access_token"])
    assert await node.is_known(second["access_token"])
    assert not await node.is_known(first["access_token"])


async def test_a_lost_answer_can_be_asked_for_again(
    node: AccountNode, first: dict[str, Any]
) -> None:
    lost = (await refresh(node, first)).json
    second = (await refresh(node, first)).json
    assert not await node.is_known(lost["access_token"])
    assert (await refresh(node, lost)).errcode == (401, "M_UNKNOWN_TOKEN")
    assert await node.is_known(second["access_token"])


@pytest.mark.parametrize("used", ["access token", "refresh token"])
async def test_showing_a_spent_token_ends_the_session(
    node: AccountNode, first: dict[str, Any], used: str
) -> None:
    second = (await refresh(node, first)).json
    newest = second
    if used == "access token":
        assert await node.is_known(second["access_token"])
    else:
        newest = (await refresh(node, second)).json
    stolen = await refresh(node, first)
    assert stolen.errcode == (401, "M_UNKNOWN_TOKEN")
    assert stolen.json["soft_logout"] is True
    assert not await node.is_known(newest["access_token"])
    assert (await refresh(node, newest)).errcode == (401, "M_UNKNOWN_TOKEN")
    # The device and its keys are still there for whoever knows the password.
    again = await node.log_in("alice", device_id="PHONE")
    assert await node.device_ids(again.json["access_token"]) == {"PHONE"}


async def test_a_long_chain_leaves_one_pair(node: AccountNode, first: dict[str, Any]) -> None:
    tokens = first
    for _ in range(5):
        tokens = (await refresh(node, tokens)).json
        assert await node.is_known(tokens["access_token"])
    async with node.base.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM access_tokens") == 1
        live = "SELECT count(*) FROM refresh_tokens WHERE superseded_ts IS NULL"
        assert await connection.fetchval(live) == 1


async def test_exchanging_twice_at_once_leaves_one_pair_that_counts(
    node: AccountNode, first: dict[str, Any]
) -> None:
    answers = await asyncio.gather(*(refresh(node, first) for _ in range(4)))
    assert [answer.status for answer in answers] == [200] * 4
    known = [await node.is_known(answer.json["access_token"]) for answer in answers]
    assert known.count(True) == 1


async def test_an_expired_access_token_can_be_refreshed(
    node: AccountNode, first: dict[str, Any], clock: FakeClock
) -> None:
    clock.tick(3600)
    assert (await node.whoami(first["access_token"])).json["soft_logout"] is True
    second = (await refresh(node, first)).json
    assert await node.is_known(second["access_token"])


async def test_using_an_expired_new_token_does_not_end_the_old_one(
    node: AccountNode, first: dict[str, Any], clock: FakeClock
) -> None:
    second = (await refresh(node, first)).json
    clock.tick(3600)
    assert (await node.whoami(second["access_token"])).json["soft_logout"] is True
    assert (await refresh(node, first)).status == 200


async def test_a_refresh_token_may_end(node_with: NodeMaker, clock: FakeClock) -> None:
    async with node_with(sessions=SessionsSection(refresh_token_lifetime_ms=60_000)) as node:
        tokens = await node.register("alice", refresh_token=True)
        clock.tick(59)
        tokens = (await refresh(node, tokens)).json
        clock.tick(60)
        answer = await refresh(node, tokens)
        assert answer.errcode == (401, "M_UNKNOWN_TOKEN")
        assert answer.json["soft_logout"] is True


async def test_logging_out_ends_the_refresh_token(node: AccountNode, first: dict[str, Any]) -> None:
    await node.call("POST", "logout", {}, first["access_token"])
    answer = await refresh(node, first)
    assert answer.errcode == (401, "M_UNKNOWN_TOKEN")
    assert "soft_logout" not in answer.json


async def test_a_token_nobody_issued_is_unknown(node: AccountNode) -> None:
    answer = await refresh(node, {"refresh_token": "hsr_nothing"})
    assert answer.errcode == (401, "M_UNKNOWN_TOKEN")
    assert "soft_logout" not in answer.json


async def test_an_access_token_refreshes_nothing(node: AccountNode, first: dict[str, Any]) -> None:
    answer = await refresh(node, {"refresh_token": first["access_token"]})
    assert answer.errcode == (401, "M_UNKNOWN_TOKEN")
    assert (await node.whoami(first["refresh_token"])).errcode == (401, "M_UNKNOWN_TOKEN")


async def test_a_locked_user_gets_no_new_tokens(node: AccountNode, first: dict[str, Any]) -> None:
    user_id = UserID("@alice:localhost")
    await node.layer.accounts.set_locked(user_id, is_locked=True)
    assert (await refresh(node, first)).errcode == (401, "M_USER_LOCKED")
    await node.layer.accounts.set_locked(user_id, is_locked=False)
    assert (await refresh(node, first)).status == 200


async def test_tokens_without_refreshing_do_not_end(node: AccountNode, clock: FakeClock) -> None:
    made = await node.register("alice")
    assert "refresh_token" not in made
    assert "expires_in_ms" not in made
    clock.tick(10 * 365 * 24 * 3600)
    assert await node.is_known(made["access_token"])


async def test_spent_tokens_are_forgotten_after_a_month(
    node: AccountNode, first: dict[str, Any], clock: FakeClock
) -> None:
    second = (await refresh(node, first)).json
    assert await node.is_known(second["access_token"])
    clock.tick(31 * 24 * 3600)
    await ExpiredSecrets(node.base.database, clock).delete()
    answer = await refresh(node, first)
    assert answer.errcode == (401, "M_UNKNOWN_TOKEN")
    assert "soft_logout" not in answer.json
    assert (await refresh(node, second)).status == 200
