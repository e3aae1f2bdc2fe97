"""Spec: client-server-api/#post_matrixclientv1loginget_token"""

import pytest

from homeserver.config.sections.sessions import SessionsSection
from tests.flows.accounts.conftest import NodeMaker
from tests.support.account_node import AccountNode, Answer
from tests.support.clock import FakeClock

GET_TOKEN = "/_matrix/client/v1/login/get_token"
AUTH = {
    "type": "m.login.password",
    "identifier": {"type": "m.id.user", "user": "alice"},
    "password": "secret",
}


async def redeem(node: AccountNode, token: str) -> Answer:
    return await node.call("POST", "login", {"type": "m.login.token", "token": token})


@pytest.mark.parametrize(
    "path", [GET_TOKEN, "/_matrix/client/unstable/org.matrix.msc3882/login/get_token"]
)
async def test_a_token_logs_in_another_device_once(node: AccountNode, path: str) -> None:
    made = await node.register("alice")
    answer = await node.call("POST", path, {"auth": AUTH}, made["access_token"])
    assert answer.status == 200
    assert answer.json["expires_in_ms"] == 120_000
    login = await redeem(node, answer.json["login_token"])
    assert login.json["user_id"] == "@alice:localhost"
    assert login.json["device_id"] != made["device_id"]
    assert (await redeem(node, answer.json["login_token"])).errcode == (403, "M_FORBIDDEN")


async def test_each_token_needs_another_proof(node: AccountNode) -> None:
    token = (await node.register("alice"))["access_token"]
    session = (await node.call("POST", GET_TOKEN, {}, token)).json["session"]
    auth = {**AUTH, "session": session}
    assert (await node.call("POST", GET_TOKEN, {"auth": auth}, token)).status == 200
    again = await node.call("POST", GET_TOKEN, {"auth": {"session": session}}, token)
    assert again.status == 401
    assert again.json["session"] != session
    assert "completed" not in again.json


async def test_a_token_is_good_for_two_minutes(node: AccountNode, clock: FakeClock) -> None:
    token = (await node.register("alice"))["access_token"]
    issued = await node.call("POST", GET_TOKEN, {"auth": AUTH}, token)
    clock.tick(120)
    assert (await redeem(node, issued.json["login_token"])).errcode == (403, "M_FORBIDDEN")


async def test_a_deactivated_user_is_told_so(node: AccountNode) -> None:
    token = (await node.register("alice"))["access_token"]
    issued = await node.call("POST", GET_TOKEN, {"auth": AUTH}, token)
    async with node.base.database.connection() as connection:
        await connection.execute("UPDATE users SET deactivated_ts = 1")
    answer = await redeem(node, issued.json["login_token"])
    assert answer.errcode == (403, "M_USER_DEACTIVATED")


async def test_ending_all_sessions_ends_login_tokens_too(node: AccountNode) -> None:
    token = (await node.register("alice"))["access_token"]
    issued = await node.call("POST", GET_TOKEN, {"auth": AUTH}, token)
    await node.call("POST", "logout/all", {}, token)
    assert (await redeem(node, issued.json["login_token"])).errcode == (403, "M_FORBIDDEN")


async def test_who_has_no_password_cannot_ask(node: AccountNode) -> None:
    token = (await node.register("alice"))["access_token"]
    async with node.base.database.connection() as connection:
        await connection.execute("UPDATE users SET password_hash = NULL")
    assert (await node.call("POST", GET_TOKEN, {}, token)).errcode == (400, "M_UNKNOWN")
    capabilities = (await node.call("GET", "capabilities", token=token)).json["capabilities"]
    assert capabilities["m.get_login_token"] == {"enabled": False}
    assert capabilities["m.change_password"] == {"enabled": False}


async def test_a_guest_cannot_ask(node: AccountNode) -> None:
    guest = (await node.call("POST", "register?kind=guest", {})).json["access_token"]
    answer = await node.call("POST", GET_TOKEN, {}, guest)
    assert answer.errcode == (403, "M_GUEST_ACCESS_FORBIDDEN")


async def test_get_token_can_be_off(node_with: NodeMaker) -> None:
    async with node_with(sessions=SessionsSection(login_tokens_enabled=False)) as node:
        token = (await node.register("alice"))["access_token"]
        answer = await node.call("POST", GET_TOKEN, {"auth": AUTH}, token)
        assert answer.errcode == (400, "M_UNKNOWN")
        capabilities = (await node.call("GET", "capabilities", token=token)).json["capabilities"]
        assert capabilities["m.get_login_token"] == {"enabled": False}
        for flow in (await node.call("GET", "login")).json["flows"]:
            assert "get_login_token" not in flow
