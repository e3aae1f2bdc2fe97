"""Spec: client-server-api/#password-management"""

from typing import Any

import pytest

from homeserver.config.sections.passwords import PasswordsSection
from tests.flows.accounts.conftest import NodeMaker
from tests.support.account_node import AccountNode

PASSWORD = {
    "type": "m.login.password",
    "identifier": {"type": "m.id.user", "user": "alice"},
    "password": "secret",
}


@pytest.fixture
async def phone(node: AccountNode) -> str:
    """The access token of Alice's phone."""
    return str((await node.register("alice", device_id="PHONE"))["access_token"])


@pytest.fixture
async def tablet(node: AccountNode, phone: str) -> str:
    """The access token of Alice's tablet."""
    return str((await node.log_in("alice", device_id="TABLET")).json["access_token"])


@pytest.mark.parametrize(
    "auth",
    [
        PASSWORD,
        {"type": "m.login.password", "user": "@alice:localhost", "password": "secret"},
        {"type": "m.login.password", "password": "secret"},
    ],
)
async def test_the_new_password_logs_in_and_the_old_one_does_not(
    node: AccountNode, phone: str, auth: dict[str, Any]
) -> None:
    body = {"new_password": "better", "auth": auth}
    assert (await node.call("POST", "account/password", body, phone)).json == {}
    assert (await node.log_in("alice", "secret")).errcode == (403, "M_FORBIDDEN")
    assert (await node.log_in("alice", "better")).status == 200


async def test_other_sessions_end_and_this_one_stays(
    node: AccountNode, phone: str, tablet: str
) -> None:
    body = {"new_password": "better", "auth": PASSWORD}
    await node.call("POST", "account/password", body, phone)
    assert await node.is_known(phone)
    assert not await node.is_known(tablet)
    assert await node.device_ids(phone) == {"PHONE"}


async def test_other_sessions_stay_if_the_client_wants_it(
    node: AccountNode, phone: str, tablet: str
) -> None:
    body = {"new_password": "better", "logout_devices": False, "auth": PASSWORD}
    await node.call("POST", "account/password", body, phone)
    assert await node.is_known(tablet)
    assert (await node.log())[-1] == ("@alice:localhost", "account_changed", None)


async def test_the_old_password_is_asked_for(node: AccountNode, phone: str) -> None:
    challenge = await node.call("POST", "account/password", {"new_password": "x"}, phone)
    assert challenge.status == 401
    assert challenge.json["flows"] == [{"stages": ["m.login.password"]}]
    wrong = {"new_password": "x", "auth": {**PASSWORD, "password": "wrong"}}
    refused = await node.call("POST", "account/password", wrong, phone)
    assert refused.errcode == (401, "M_FORBIDDEN")
    assert (await node.log_in("alice")).status == 200


async def test_a_bare_session_carries_out_the_request_before(node: AccountNode, phone: str) -> None:
    body = {"new_password": "better", "logout_devices": False}
    challenge = await node.call("POST", "account/password", body, phone)
    auth = {**PASSWORD, "session": challenge.json["session"]}
    answer = await node.call("POST", "account/password", {"auth": auth}, phone)
    assert answer.status == 200
    assert (await node.log_in("alice", "better")).status == 200


async def test_a_session_changes_one_password(node: AccountNode, phone: str) -> None:
    body = {"new_password": "better"}
    challenge = await node.call("POST", "account/password", body, phone)
    auth = {**PASSWORD, "session": challenge.json["session"]}
    await node.call("POST", "account/password", {**body, "auth": auth}, phone)
    again = {"new_password": "stolen", "auth": {"session": challenge.json["session"]}}
    assert (await node.call("POST", "account/password", again, phone)).status == 401
    assert (await node.log_in("alice", "better")).status == 200


@pytest.mark.parametrize("body", [{}, {"auth": PASSWORD}, {"new_password": None}])
async def test_a_new_password_is_needed(
    node: AccountNode, phone: str, body: dict[str, Any]
) -> None:
    answer = await node.call("POST", "account/password", body, phone)
    assert answer.errcode == (400, "M_MISSING_PARAM")


async def test_a_weak_password_is_refused_before_anything_is_asked(
    node_with: NodeMaker,
) -> None:
    async with node_with(passwords=PasswordsSection(bcrypt_cost=4, min_length=8)) as node:
        token = (await node.register("alice", password="long enough"))["access_token"]
        answer = await node.call("POST", "account/password", {"new_password": "short"}, token)
        assert answer.errcode == (400, "M_WEAK_PASSWORD")


async def test_without_a_session_nobody_can_ask(node: AccountNode) -> None:
    answer = await node.call("POST", "account/password", {"new_password": "x"})
    assert answer.errcode == (401, "M_MISSING_TOKEN")


async def test_passwords_with_any_letters_log_in(node: AccountNode) -> None:
    password = "übers3kr1t " + "🙂" * 50
    await node.register("bob", password=password)
    assert (await node.log_in("bob", password)).status == 200
    assert (await node.log_in("bob", password + "!")).errcode == (403, "M_FORBIDDEN")
