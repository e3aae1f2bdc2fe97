"""Spec: client-server-api/#legacy-account-registration"""

import asyncio
from typing import Any

import pytest

from homeserver.config.sections.registration import Policy, PolicyText, RegistrationSection
from homeserver.config.sections.sessions import SessionsSection
from homeserver.protocol.identifiers import UserID
from homeserver.storage import accounts
from tests.flows.accounts.conftest import NodeMaker
from tests.support.account_node import AccountNode, captcha_server
from tests.support.clock import FakeClock

DUMMY = {"type": "m.login.dummy"}
TERMS = (
    Policy(
        id="privacy",
        version="1.2",
        languages={"en": PolicyText(name="Privacy", url="https://example.org/p")},
    ),
)


async def test_a_request_without_auth_is_told_what_to_do(node: AccountNode) -> None:
    answer = await node.call("POST", "register", {})
    assert answer.status == 401
    assert answer.json["flows"] == [{"stages": ["m.login.dummy"]}]
    assert answer.json["session"]
    assert "errcode" not in answer.json
    assert "completed" not in answer.json


async def test_the_dummy_stage_registers_and_logs_in(node: AccountNode) -> None:
    session = (await node.call("POST", "register", {})).json["session"]
    body = {"username": "alice", "password": "secret", "auth": {**DUMMY, "session": session}}
    answer = await node.call("POST", "register", body)
    assert answer.status == 200
    assert answer.json["user_id"] == "@alice:localhost"
    assert answer.json["home_server"] == "localhost"
    whoami = await node.whoami(answer.json["access_token"])
    assert whoami.json == {
        "user_id": "@alice:localhost",
        "device_id": answer.json["device_id"],
        "is_guest": False,
    }


async def test_a_client_may_try_the_first_stage_without_a_session(node: AccountNode) -> None:
    assert (await node.register("alice"))["user_id"] == "@alice:localhost"


async def test_the_wanted_device_is_made_with_its_name(node: AccountNode) -> None:
    made = await node.register(
        "alice", device_id="PHONE", initial_device_display_name="Alice's phone"
    )
    assert made["device_id"] == "PHONE"
    device = await node.call("GET", "devices/PHONE", token=made["access_token"])
    assert device.json["display_name"] == "Alice's phone"


async def test_an_empty_or_null_device_id_counts_as_absent(node: AccountNode) -> None:
    assert (await node.register("alice", device_id=""))["device_id"]
    assert (await node.register("bob", device_id=None))["device_id"]


async def test_the_name_is_brought_to_lower_case(node: AccountNode) -> None:
    assert (await node.register("AliceInChains"))["user_id"] == "@aliceinchains:localhost"


async def test_without_a_name_the_server_makes_one(node: AccountNode) -> None:
    answer = await node.call("POST", "register", {"password": "secret", "auth": DUMMY})
    assert answer.status == 200
    assert (await node.log_in(answer.json["user_id"])).status == 200


async def test_login_can_be_inhibited(node: AccountNode) -> None:
    made = await node.register("alice", inhibit_login=True)
    assert made == {"user_id": "@alice:localhost", "home_server": "localhost"}
    assert (await node.log_in("alice")).status == 200


async def test_a_name_is_given_once_whatever_its_case(node: AccountNode) -> None:
    await node.register("alice")
    body = {"username": "ALICE", "password": "other", "auth": DUMMY}
    answer = await node.call("POST", "register", body)
    assert answer.errcode == (400, "M_USER_IN_USE")


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"username": "alice"}, "M_USER_IN_USE"),
        ({"username": "al ice"}, "M_INVALID_USERNAME"),
        ({"username": ""}, "M_INVALID_USERNAME"),
        ({"username": "x" * 300}, "M_INVALID_USERNAME"),
        ({"username": "bob", "password": ""}, "M_WEAK_PASSWORD"),
        ({"username": "bob", "device_id": "x" * 300}, "M_INVALID_PARAM"),
    ],
)
async def test_names_are_checked_before_authentication(
    node: AccountNode, body: dict[str, Any], errcode: str
) -> None:
    await node.register("alice")
    assert (await node.call("POST", "register", body)).errcode == (400, errcode)


async def test_a_password_is_needed_in_the_end(node: AccountNode) -> None:
    answer = await node.call("POST", "register", {"username": "alice", "auth": DUMMY})
    assert answer.errcode == (400, "M_MISSING_PARAM")


async def test_one_session_registers_one_account_however_often_it_is_shown(
    node: AccountNode,
) -> None:
    session = (await node.call("POST", "register", {})).json["session"]
    body = {"username": "alice", "password": "secret", "auth": {**DUMMY, "session": session}}
    first = await node.call("POST", "register", body)
    again = await node.call("POST", "register", body)
    assert (first.status, again.status) == (200, 200)
    assert again.json["user_id"] == first.json["user_id"]
    assert again.json["device_id"] == first.json["device_id"]
    # Whoever did not get the first answer does not have its token either.
    assert not await node.is_known(first.json["access_token"])
    assert await node.is_known(again.json["access_token"])


async def test_a_used_session_registers_no_second_name(node: AccountNode) -> None:
    session = (await node.call("POST", "register", {})).json["session"]
    auth = {**DUMMY, "session": session}
    await node.call("POST", "register", {"username": "alice", "password": "a", "auth": auth})
    answer = await node.call(
        "POST", "register", {"username": "mallory", "password": "m", "auth": auth}
    )
    assert answer.json["user_id"] == "@alice:localhost"
    assert await node.layer.accounts.get(UserID("@mallory:localhost")) is None


async def test_a_session_shown_twice_at_once_registers_once(node: AccountNode) -> None:
    session = (await node.call("POST", "register", {})).json["session"]
    body = {"password": "secret", "auth": {**DUMMY, "session": session}}
    answers = await asyncio.gather(*(node.call("POST", "register", body) for _ in range(4)))
    assert [answer.status for answer in answers] == [200] * 4
    assert len({answer.json["user_id"] for answer in answers}) == 1


async def test_a_name_wanted_twice_at_once_is_given_once(node: AccountNode) -> None:
    body = {"username": "alice", "password": "secret", "auth": DUMMY}
    answers = await asyncio.gather(*(node.call("POST", "register", body) for _ in range(4)))
    outcomes = sorted(answer.errcode for answer in answers if answer.status != 200)
    assert outcomes == [(400, "M_USER_IN_USE")] * 3


async def test_a_request_with_only_the_session_carries_out_the_one_before(
    node: AccountNode,
) -> None:
    body = {"username": "alice", "password": "secret", "device_id": "PHONE"}
    session = (await node.call("POST", "register", body)).json["session"]
    answer = await node.call("POST", "register", {"auth": {**DUMMY, "session": session}})
    assert answer.json["user_id"] == "@alice:localhost"
    assert answer.json["device_id"] == "PHONE"
    assert (await node.log_in("alice")).status == 200


async def test_the_stored_request_cannot_be_read_without_the_session(node: AccountNode) -> None:
    await node.call("POST", "register", {"username": "alice", "password": "very secret"})
    async with node.base.database.connection() as connection:
        sealed = await connection.fetchval("SELECT sealed_request FROM uia_sessions")
    assert sealed
    assert b"very secret" not in sealed


async def test_the_whole_path_of_token_captcha_and_terms(node_with: NodeMaker) -> None:
    async with (
        captcha_server() as (captchas, captcha),
        node_with(
            registration=RegistrationSection(requires_token=True, captcha=captcha, terms=TERMS)
        ) as node,
    ):
        await node.layer.registration_tokens.create("abc", uses_allowed=1)
        body = {"username": "alice", "password": "secret"}
        challenge = (await node.call("POST", "register", body)).json
        stages = ["m.login.registration_token", "m.login.recaptcha", "m.login.terms"]
        assert challenge["flows"] == [{"stages": stages}]
        assert challenge["params"] == {
            "m.login.recaptcha": {"public_key": "public"},
            "m.login.terms": {
                "policies": {
                    "privacy": {
                        "version": "1.2",
                        "en": {"name": "Privacy", "url": "https://example.org/p"},
                    }
                }
            },
        }
        session = {"session": challenge["session"]}
        proofs: list[dict[str, Any]] = [{"token": "abc"}, {"response": "right"}, {}]
        for done, proof in enumerate(proofs, start=1):
            auth = {"type": stages[done - 1], **session, **proof}
            answer = await node.call("POST", "register", {**body, "auth": auth})
            if done < len(stages):
                assert answer.status == 401
                assert answer.json["completed"] == stages[:done]
                assert "errcode" not in answer.json
        assert answer.json["user_id"] == "@alice:localhost"
        assert captchas.forms[0]["secret"] == "private"
        async with node.base.database.connection() as connection:
            accepted = await accounts.accepted_terms(connection, "@alice:localhost")
        assert accepted == [("privacy", "1.2")]
        assert not await node.layer.registration_tokens.is_valid("abc")


async def test_a_failed_captcha_may_be_tried_again(node_with: NodeMaker) -> None:
    async with (
        captcha_server() as (_, captcha),
        node_with(registration=RegistrationSection(captcha=captcha)) as node,
    ):
        body = {"username": "alice", "password": "secret"}
        session = (await node.call("POST", "register", body)).json["session"]
        for response, errcode in [
            ("", "M_CAPTCHA_NEEDED"),
            ("wrong", "M_CAPTCHA_INVALID"),
            ("down", "M_CAPTCHA_INVALID"),
        ]:
            auth = {"type": "m.login.recaptcha", "session": session, "response": response}
            answer = await node.call("POST", "register", {**body, "auth": auth})
            assert answer.errcode == (401, errcode)
            assert answer.json["session"] == session
            assert "completed" not in answer.json
        auth = {"type": "m.login.recaptcha", "session": session, "response": "right"}
        assert (await node.call("POST", "register", {**body, "auth": auth})).status == 200


async def test_registration_can_be_off(node_with: NodeMaker) -> None:
    async with node_with(registration=RegistrationSection(enabled=False)) as node:
        for method, path in [
            ("POST", "register"),
            ("GET", "register/available?username=alice"),
            ("GET", "/_matrix/client/v1/register/m.login.registration_token/validity?token=a"),
        ]:
            answer = await node.call(method, path, {} if method == "POST" else None)
            assert answer.errcode == (403, "M_FORBIDDEN")


async def test_a_refresh_token_comes_with_an_end_of_the_access_token(
    node_with: NodeMaker, clock: FakeClock
) -> None:
    sessions = SessionsSection(refreshable_access_token_lifetime_ms=60_000)
    async with node_with(sessions=sessions) as node:
        made = await node.register("alice", refresh_token=True)
        assert made["expires_in_ms"] == 60_000
        assert made["refresh_token"]
        clock.tick(60)
        answer = await node.whoami(made["access_token"])
        assert answer.errcode == (401, "M_UNKNOWN_TOKEN")
        assert answer.json["soft_logout"] is True


@pytest.mark.parametrize(
    ("username", "errcode"),
    [
        ("bob", None),
        ("BOB", None),
        ("alice", "M_USER_IN_USE"),
        ("Alice", "M_USER_IN_USE"),
        ("b b", "M_INVALID_USERNAME"),
        ("", "M_INVALID_USERNAME"),
    ],
)
async def test_whether_a_name_is_available(
    node: AccountNode, username: str, errcode: str | None
) -> None:
    await node.register("alice")
    answer = await node.call("GET", "register/available", params={"username": username})
    if errcode is None:
        assert (answer.status, answer.json) == (200, {"available": True})
    else:
        assert answer.errcode == (400, errcode)


async def test_the_log_tells_of_a_new_account_and_its_device(node: AccountNode) -> None:
    await node.register("alice", device_id="PHONE")
    assert await node.log() == [
        ("@alice:localhost", "account_changed", None),
        ("@alice:localhost", "device_changed", "PHONE"),
    ]
