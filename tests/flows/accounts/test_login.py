"""Spec: client-server-api/#legacy-login"""

from typing import Any

import pytest

from homeserver.config.sections.passwords import PasswordsSection
from homeserver.config.sections.rate_limits import (
    RateLimitGroups,
    RateLimitSettings,
    RateLimitsSection,
)
from homeserver.config.sections.server import ServerSection
from homeserver.config.sections.sessions import SessionsSection
from homeserver.protocol.identifiers import UserID
from homeserver.storage import accounts
from homeserver.storage.accounts import NewAccountRow
from tests.flows.accounts.conftest import NodeMaker
from tests.support.account_node import AccountNode
from tests.support.clock import FakeClock

PASSWORD = "m.login.password"


async def test_the_flows_that_are_offered(node: AccountNode) -> None:
    answer = await node.call("GET", "login")
    assert answer.json == {
        "flows": [{"type": PASSWORD}, {"type": "m.login.token", "get_login_token": True}]
    }


async def test_passwords_can_be_off(node_with: NodeMaker) -> None:
    section = PasswordsSection(bcrypt_cost=4, login_enabled=False)
    async with node_with(passwords=section) as node:
        await node.register("alice")
        assert (await node.log_in("alice")).errcode == (400, "M_UNKNOWN")
        flows = (await node.call("GET", "login")).json["flows"]
        assert PASSWORD not in [flow["type"] for flow in flows]


@pytest.mark.parametrize(
    "who",
    [
        {"identifier": {"type": "m.id.user", "user": "alice"}},
        {"identifier": {"type": "m.id.user", "user": "@alice:localhost"}},
        {"identifier": {"type": "m.id.user", "user": "ALICE"}},
        {"identifier": {"type": "m.id.user", "user": "@Alice:localhost"}},
        {"user": "alice"},
        {"user": "@alice:localhost"},
    ],
)
async def test_a_user_logs_in_by_user_id_or_localpart(
    node: AccountNode, who: dict[str, Any]
) -> None:
    await node.register("alice")
    answer = await node.call("POST", "login", {"type": PASSWORD, "password": "secret", **who})
    assert answer.status == 200
    assert answer.json["user_id"] == "@alice:localhost"
    assert answer.json["home_server"] == "localhost"
    assert (await node.whoami(answer.json["access_token"])).status == 200


@pytest.mark.parametrize(
    "what",
    [
        {"identifier": {"type": "m.id.user", "user": "alice"}, "password": "wrong"},
        {"identifier": {"type": "m.id.user", "user": "alice"}, "password": ""},
        {"identifier": {"type": "m.id.user", "user": "nobody"}},
        {"identifier": {"type": "m.id.user", "user": ""}},
        {"identifier": {"type": "m.id.user", "user": "@alice:elsewhere.org"}},
        {"identifier": {"type": "m.id.thirdparty", "medium": "email", "address": "a@b.org"}},
        {"identifier": {"type": "m.id.phone", "country": "GB", "phone": "07700900001"}},
        {"medium": "email", "address": "a@b.org"},
    ],
)
async def test_whatever_is_wrong_the_refusal_is_the_same(
    node: AccountNode, what: dict[str, Any]
) -> None:
    await node.register("alice")
    answer = await node.call("POST", "login", {"type": PASSWORD, "password": "secret", **what})
    assert answer.errcode == (403, "M_FORBIDDEN")
    assert answer.json["error"] == "Invalid username or password"


async def test_an_account_without_password_takes_none(node: AccountNode) -> None:
    user_id = UserID("@bot:localhost")
    await node.layer.accounts.create(NewAccountRow(user_id, 1))
    assert (await node.log_in("bot", "")).errcode == (403, "M_FORBIDDEN")


async def test_an_old_name_in_upper_case_is_found_before_the_lower_case_one(
    node: AccountNode,
) -> None:
    for name in ("@Old:localhost", "@old:localhost"):
        stored = await node.layer.passwords.hash(name)
        await node.layer.accounts.create(NewAccountRow(UserID(name), 1, stored))
    assert (await node.log_in("Old", "@Old:localhost")).json["user_id"] == "@Old:localhost"
    assert (await node.log_in("old", "@old:localhost")).json["user_id"] == "@old:localhost"


async def test_an_outdated_hash_is_replaced_at_login(node: AccountNode) -> None:
    await node.register("alice")
    user_id = UserID("@alice:localhost")
    older = await type(node.layer.passwords)(PasswordsSection(bcrypt_cost=5)).hash("secret")
    async with node.base.database.connection() as connection:
        await accounts.set_password(connection, user_id, older)
    assert (await node.log_in("alice")).status == 200
    account = await node.layer.accounts.get(user_id)
    assert account is not None
    assert "$04$" in (account.password_hash or "")
    assert (await node.log_in("alice")).status == 200


async def test_a_new_device_gets_the_wanted_id_and_name(node: AccountNode) -> None:
    made = await node.register("alice")
    await node.log_in("alice", device_id="TABLET", initial_device_display_name="x" * 200)
    device = await node.call("GET", "devices/TABLET", token=made["access_token"])
    assert device.json["display_name"] == "x" * 100


async def test_a_known_device_loses_its_tokens_and_keeps_its_name(node: AccountNode) -> None:
    made = await node.register("alice", device_id="PHONE", initial_device_display_name="old")
    again = await node.log_in("alice", device_id="PHONE", initial_device_display_name="new")
    assert (await node.whoami(made["access_token"])).errcode == (401, "M_UNKNOWN_TOKEN")
    device = await node.call("GET", "devices/PHONE", token=again.json["access_token"])
    assert device.json["display_name"] == "old"
    assert ("@alice:localhost", "tokens_revoked", "PHONE") in await node.log()


async def test_other_devices_stay_logged_in(node: AccountNode) -> None:
    made = await node.register("alice")
    again = await node.log_in("alice")
    assert again.json["device_id"] != made["device_id"]
    assert await node.is_known(made["access_token"])


async def test_the_answer_tells_the_public_address_if_there_is_one(node_with: NodeMaker) -> None:
    server = ServerSection(name="localhost", public_base_url="https://m.example.org")
    async with node_with(server=server) as node:
        await node.register("alice")
        assert (await node.log_in("alice")).json["well_known"] == {
            "m.homeserver": {"base_url": "https://m.example.org/"}
        }


async def test_a_locked_user_is_told_so_only_with_the_right_password(node: AccountNode) -> None:
    made = await node.register("alice")
    await node.layer.accounts.set_locked(UserID("@alice:localhost"), is_locked=True)
    assert (await node.log_in("alice", "wrong")).errcode == (403, "M_FORBIDDEN")
    answer = await node.log_in("alice")
    assert answer.errcode == (401, "M_USER_LOCKED")
    assert answer.json["soft_logout"] is True
    # The token that was cached before the lock is refused as well.
    assert (await node.whoami(made["access_token"])).errcode == (401, "M_USER_LOCKED")
    assert (await node.call("POST", "logout", {}, made["access_token"])).status == 200


async def test_a_suspended_user_may_log_in(node: AccountNode) -> None:
    await node.register("alice")
    await node.layer.accounts.set_suspended(UserID("@alice:localhost"), is_suspended=True)
    answer = await node.log_in("alice")
    assert answer.status == 200
    assert (await node.requester(answer.json["access_token"])).is_suspended


async def test_access_tokens_may_end_without_refreshing(
    node_with: NodeMaker, clock: FakeClock
) -> None:
    async with node_with(sessions=SessionsSection(access_token_lifetime_ms=60_000)) as node:
        await node.register("alice")
        answer = await node.log_in("alice", device_id="PHONE")
        assert answer.json["expires_in_ms"] == 60_000
        assert "refresh_token" not in answer.json
        token = answer.json["access_token"]
        assert await node.is_known(token)
        clock.tick(60)
        refused = await node.whoami(token)
        assert refused.errcode == (401, "M_UNKNOWN_TOKEN")
        assert refused.json["soft_logout"] is True
        # A soft logout: the device is still there for the next login.
        assert (await node.log_in("alice", device_id="PHONE")).status == 200


async def test_passwords_of_one_account_are_tried_slowly_from_anywhere(
    node_with: NodeMaker,
) -> None:
    slow = RateLimitSettings(per_second=0.01, burst=3)
    fast = RateLimitSettings(per_second=100, burst=1000)
    groups = RateLimitGroups(login=slow, registration=fast, default=fast)
    async with node_with(rate_limits=RateLimitsSection(groups=groups)) as node:
        made = await node.register("alice")
        token = made["access_token"]
        tries = []
        for _ in range(4):
            body = {
                "new_password": "other",
                "auth": {"type": PASSWORD, "user": "alice", "password": "guess"},
            }
            tries.append(await node.call("POST", "account/password", body, token))
        assert [each.status for each in tries] == [401, 401, 401, 429]
        assert int(tries[-1].headers["Retry-After"]) > 0
        # The right one is not let through either while the account is guessed at.
        assert (await node.log_in("alice")).errcode == (429, "M_LIMIT_EXCEEDED")
