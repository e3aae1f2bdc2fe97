"""Spec: client-server-api/#user-interactive-authentication-api"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.config.sections.registration import Policy, PolicyText, RegistrationSection
from homeserver.services.expired_secrets import ExpiredSecrets
from tests.flows.accounts.conftest import NodeMaker
from tests.support.account_node import AccountNode, Answer
from tests.support.clock import FakeClock

TOKEN, TERMS = "m.login.registration_token", "m.login.terms"
POLICY = Policy(
    id="p", version="1", languages={"en": PolicyText(name="P", url="https://example.org/p")}
)
ALICE = {"username": "alice", "password": "secret"}


@pytest.fixture
async def strict(node_with: NodeMaker) -> AsyncIterator[AccountNode]:
    """A node that asks for a token and then for the acceptance of terms."""
    section = RegistrationSection(requires_token=True, terms=(POLICY,))
    async with node_with(registration=section) as running:
        yield running


async def register(node: AccountNode, session: str | None = None, **auth: Any) -> Answer:
    shown = {"session": session, **auth} if session is not None else auth
    return await node.call("POST", "register", {**ALICE, "auth": shown} if shown else ALICE)


async def begin(node: AccountNode) -> str:
    return str((await register(node)).json["session"])


async def test_stages_are_completed_in_order(strict: AccountNode) -> None:
    await strict.layer.registration_tokens.create("abc")
    session = await begin(strict)
    early = await register(strict, session, type=TERMS)
    assert early.errcode == (401, "M_UNAUTHORIZED")
    assert "completed" not in early.json
    first = await register(strict, session, type=TOKEN, token="abc")
    assert (first.status, first.json["completed"]) == (401, [TOKEN])
    assert (await register(strict, session, type=TERMS)).status == 200


async def test_a_completed_stage_cannot_be_tried_again(strict: AccountNode) -> None:
    await strict.layer.registration_tokens.create("abc")
    session = await begin(strict)
    await register(strict, session, type=TOKEN, token="abc")
    again = await register(strict, session, type=TOKEN, token="wrong")
    assert again.json["completed"] == [TOKEN]
    assert "errcode" not in again.json


async def test_asking_how_far_a_session_is_changes_nothing(strict: AccountNode) -> None:
    session = await begin(strict)
    answer = await register(strict, session)
    assert answer.status == 401
    assert answer.json["session"] == session
    assert "errcode" not in answer.json


@pytest.mark.parametrize("stage", ["m.login.dummy", "m.login.password", "org.example.unknown"])
async def test_a_stage_of_no_flow_is_refused(strict: AccountNode, stage: str) -> None:
    answer = await register(strict, await begin(strict), type=stage, password="x")
    assert answer.errcode == (401, "M_UNAUTHORIZED")
    assert answer.json["flows"] == [{"stages": [TOKEN, TERMS]}]


async def test_an_unknown_session_is_replaced_by_a_new_one(node: AccountNode) -> None:
    answer = await register(node, "invented", type="m.login.dummy")
    assert answer.errcode == (401, "M_UNAUTHORIZED")
    assert answer.json["session"] != "invented"
    assert (await register(node, answer.json["session"], type="m.login.dummy")).status == 200


async def test_a_session_ends_after_a_day(node: AccountNode, clock: FakeClock) -> None:
    session = await begin(node)
    clock.tick(24 * 3600)
    answer = await register(node, session, type="m.login.dummy")
    assert answer.errcode == (401, "M_UNAUTHORIZED")


async def test_a_session_ends_an_hour_after_its_completion(
    node: AccountNode, clock: FakeClock
) -> None:
    session = await begin(node)
    assert (await register(node, session, type="m.login.dummy")).status == 200
    clock.tick(3599)
    assert (await register(node, session, type="m.login.dummy")).status == 200
    clock.tick(1)
    # The name is taken, and the session does not say any more by whom.
    answer = await register(node, session, type="m.login.dummy")
    assert answer.errcode == (400, "M_USER_IN_USE")


async def test_expired_sessions_are_deleted(node: AccountNode, clock: FakeClock) -> None:
    await begin(node)
    clock.tick(3600)
    await begin(node)
    clock.tick(23 * 3600)
    await ExpiredSecrets(node.base.database, clock).delete()
    async with node.base.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM uia_sessions") == 1


@pytest.mark.parametrize(
    "auth",
    ["text", [], 1, {"session": 1}, {"type": 1}, {"type": {}, "session": None}],
)
async def test_malformed_auth_is_a_bad_request(node: AccountNode, auth: object) -> None:
    answer = await node.call("POST", "register", {**ALICE, "auth": auth})
    assert answer.errcode == (400, "M_BAD_JSON")


@pytest.mark.parametrize("auth", [{}, None, {"session": None, "type": None}])
async def test_empty_auth_counts_as_none(node: AccountNode, auth: object) -> None:
    answer = await node.call("POST", "register", {**ALICE, "auth": auth})
    assert answer.status == 401
    assert "errcode" not in answer.json


async def test_a_session_of_a_registration_confirms_nothing_else(node: AccountNode) -> None:
    token = (await node.register("alice"))["access_token"]
    session = (await node.call("POST", "register", {})).json["session"]
    answer = await node.call(
        "POST", "delete_devices", {"devices": ["A"], "auth": {"session": session}}, token
    )
    assert answer.errcode == (403, "M_FORBIDDEN")


class TestRegistrationTokens:
    """Spec: client-server-api/#token-authenticated-registration"""

    VALIDITY = "/_matrix/client/v1/register/m.login.registration_token/validity"

    async def validity(self, node: AccountNode, token: str) -> bool:
        answer = await node.call("GET", self.VALIDITY, params={"token": token})
        assert answer.status == 200
        return bool(answer.json["valid"])

    @pytest.mark.parametrize("token", [None, 5, "", "unknown", "x" * 65, "not opaque"])
    async def test_a_wrong_token_may_be_tried_again(
        self, strict: AccountNode, token: object
    ) -> None:
        session = await begin(strict)
        answer = await register(strict, session, type=TOKEN, token=token)
        errcode = "M_UNAUTHORIZED" if isinstance(token, str) else "M_MISSING_PARAM"
        assert answer.errcode == (401, errcode)
        assert answer.json["session"] == session

    async def test_whether_a_token_is_valid_can_be_asked(
        self, strict: AccountNode, clock: FakeClock
    ) -> None:
        tokens = strict.layer.registration_tokens
        await tokens.create("free")
        await tokens.create("none", uses_allowed=0)
        await tokens.create("late", expires_ts=clock.now_ms() + 1000)
        assert await self.validity(strict, "free")
        assert not await self.validity(strict, "none")
        assert not await self.validity(strict, "unknown")
        assert not await self.validity(strict, "")
        assert await self.validity(strict, "late")
        clock.tick(1)
        assert not await self.validity(strict, "late")

    async def test_a_claimed_use_counts_until_its_session_ends(
        self, strict: AccountNode, clock: FakeClock
    ) -> None:
        await strict.layer.registration_tokens.create("once", uses_allowed=1)
        session = await begin(strict)
        await register(strict, session, type=TOKEN, token="once")
        assert not await self.validity(strict, "once")
        other = await register(strict, await begin(strict), type=TOKEN, token="once")
        assert other.errcode == (401, "M_UNAUTHORIZED")
        clock.tick(24 * 3600)
        assert await self.validity(strict, "once")

    async def test_a_used_token_stays_used(self, strict: AccountNode, clock: FakeClock) -> None:
        await strict.layer.registration_tokens.create("once", uses_allowed=1)
        session = await begin(strict)
        await register(strict, session, type=TOKEN, token="once")
        assert (await register(strict, session, type=TERMS)).status == 200
        clock.tick(48 * 3600)
        await ExpiredSecrets(strict.base.database, clock).delete()
        assert not await self.validity(strict, "once")

    async def test_a_use_is_claimed_by_one_of_many_at_once(self, strict: AccountNode) -> None:
        await strict.layer.registration_tokens.create("once", uses_allowed=1)
        sessions = [await begin(strict) for _ in range(5)]
        answers = await asyncio.gather(
            *(register(strict, session, type=TOKEN, token="once") for session in sessions)
        )
        completed = [answer for answer in answers if "completed" in answer.json]
        assert len(completed) == 1

    async def test_names_are_given_once(self, strict: AccountNode) -> None:
        tokens = strict.layer.registration_tokens
        assert await tokens.create("abc")
        assert not await tokens.create("abc")
