"""Registration with the shared secret, as existing tools do it."""

import hmac
from collections.abc import Mapping
from typing import Any

import pytest

from homeserver.config.sections.registration import RegistrationSection
from homeserver.config.values import Secret
from homeserver.protocol.identifiers import UserID
from tests.flows.accounts.conftest import NodeMaker
from tests.support.account_node import SHARED_SECRET, AccountNode, Answer
from tests.support.clock import FakeClock

PATH = "/_synapse/admin/v1/register"


def mac_of(secret: str, *parts: str) -> str:
    return hmac.new(secret.encode(), "\0".join(parts).encode(), "sha1").hexdigest()


async def nonce(node: AccountNode) -> str:
    answer = await node.call("GET", PATH)
    assert answer.status == 200
    return str(answer.json["nonce"])


async def register(
    node: AccountNode,
    username: str = "alice",
    role: str = "notadmin",
    *,
    user_type: str | None = None,
    change: Mapping[str, Any] | None = None,
) -> Answer:
    """Register as a tool would; `change` goes over the body that it would send."""
    once = await nonce(node)
    parts = [once, username, "secret", role, *([user_type] if user_type else [])]
    body = {
        "nonce": once,
        "username": username,
        "password": "secret",
        "admin": role == "admin",
        "mac": mac_of(SHARED_SECRET, *parts),
        **({"user_type": user_type} if user_type else {}),
        **(change or {}),
    }
    return await node.call("POST", PATH, body)


async def test_a_user_is_registered_and_logged_in(node: AccountNode) -> None:
    answer = await register(node)
    assert answer.status == 200
    assert answer.json["user_id"] == "@alice:localhost"
    assert answer.json["home_server"] == "localhost"
    assert answer.json["device_id"]
    assert (await node.whoami(answer.json["access_token"])).status == 200
    assert (await node.log_in("alice")).status == 200


@pytest.mark.parametrize("role", ["admin", "notadmin"])
async def test_administrators_are_made_like_this(node: AccountNode, role: str) -> None:
    made = await register(node, role=role)
    requester = await node.requester(made.json["access_token"])
    assert requester.is_admin == (role == "admin")


async def test_a_user_type_is_kept(node: AccountNode) -> None:
    await register(node, user_type="bot")
    account = await node.layer.accounts.get(UserID("@alice:localhost"))
    assert account is not None
    assert account.user_type == "bot"


async def test_the_name_is_brought_to_lower_case(node: AccountNode) -> None:
    assert (await register(node, "ALICE")).json["user_id"] == "@alice:localhost"


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"mac": "00" * 20}, (403, "M_FORBIDDEN")),
        ({"mac": ""}, (403, "M_FORBIDDEN")),
        ({"mac": "é"}, (403, "M_FORBIDDEN")),
        ({"admin": True}, (403, "M_FORBIDDEN")),
        ({"user_type": "bot"}, (403, "M_FORBIDDEN")),
        ({"username": "mallory"}, (403, "M_FORBIDDEN")),
        ({"password": "other"}, (403, "M_FORBIDDEN")),
        ({"nonce": "invented"}, (400, "M_INVALID_PARAM")),
        ({"nonce": ""}, (400, "M_INVALID_PARAM")),
        ({"nonce": "AAAA"}, (400, "M_INVALID_PARAM")),
        ({"nonce": "ü"}, (400, "M_INVALID_PARAM")),
        ({"nonce": 1}, (400, "M_BAD_JSON")),
        ({"mac": None}, (400, "M_BAD_JSON")),
    ],
)
async def test_what_does_not_fit_together_is_refused(
    node: AccountNode, change: dict[str, Any], refusal: tuple[int, str]
) -> None:
    assert (await register(node, change=change)).errcode == refusal
    assert await node.layer.accounts.get(UserID("@alice:localhost")) is None


@pytest.mark.parametrize(
    ("username", "errcode"),
    [("alice", "M_USER_IN_USE"), ("al ice", "M_INVALID_USERNAME"), ("", "M_INVALID_USERNAME")],
)
async def test_names_obey_the_same_rules(node: AccountNode, username: str, errcode: str) -> None:
    await node.register("alice")
    assert (await register(node, username)).errcode == (400, errcode)


@pytest.mark.parametrize("missing", ["nonce", "username", "password", "mac"])
async def test_everything_is_needed(node: AccountNode, missing: str) -> None:
    body = {"nonce": "n", "username": "u", "password": "p", "mac": "m"}
    del body[missing]
    assert (await node.call("POST", PATH, body)).errcode == (400, "M_MISSING_PARAM")


async def test_a_nonce_lasts_a_minute(node: AccountNode, clock: FakeClock) -> None:
    once = await nonce(node)
    body = {
        "nonce": once,
        "username": "alice",
        "password": "secret",
        "mac": mac_of(SHARED_SECRET, once, "alice", "secret", "notadmin"),
    }
    clock.tick(61)
    assert (await node.call("POST", PATH, body)).errcode == (400, "M_INVALID_PARAM")


async def test_a_nonce_of_one_node_counts_on_another(
    node: AccountNode, node_with: NodeMaker
) -> None:
    once = await nonce(node)
    body = {
        "nonce": once,
        "username": "alice",
        "password": "secret",
        "mac": mac_of(SHARED_SECRET, once, "alice", "secret", "notadmin"),
    }
    async with node_with() as other:
        assert (await other.call("POST", PATH, body)).status == 200


async def test_without_a_secret_it_is_off(node_with: NodeMaker) -> None:
    async with node_with(registration=RegistrationSection()) as node:
        assert (await node.call("GET", PATH)).errcode == (400, "M_UNKNOWN")
        body = {"nonce": "n", "username": "u", "password": "p", "mac": "m"}
        assert (await node.call("POST", PATH, body)).errcode == (400, "M_UNKNOWN")


async def test_it_works_where_clients_may_not_register(node_with: NodeMaker) -> None:
    async with node_with(
        registration=RegistrationSection(enabled=False, shared_secret=Secret(SHARED_SECRET))
    ) as node:
        assert (await register(node)).status == 200
