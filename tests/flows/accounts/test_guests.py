"""Spec: client-server-api/#guest-access"""

from typing import Any

import pytest

from homeserver.config.sections.registration import RegistrationSection
from tests.flows.accounts.conftest import NodeMaker
from tests.support.account_node import AccountNode

DUMMY = {"type": "m.login.dummy"}


@pytest.fixture
async def guest(node: AccountNode) -> dict[str, Any]:
    answer = await node.call("POST", "register?kind=guest", {})
    assert answer.status == 200
    made: dict[str, Any] = answer.json
    return made


def localpart(made: dict[str, Any]) -> str:
    return str(made["user_id"])[1:].split(":")[0]


async def test_a_guest_needs_no_authentication(node: AccountNode, guest: dict[str, Any]) -> None:
    whoami = await node.whoami(guest["access_token"])
    assert whoami.json == {
        "user_id": guest["user_id"],
        "device_id": guest["device_id"],
        "is_guest": True,
    }


async def test_a_guest_needs_no_body(node: AccountNode) -> None:
    assert (await node.call("POST", "register?kind=guest")).status == 200


async def test_all_that_a_guest_asks_for_is_ignored_but_the_name_of_the_device(
    node: AccountNode,
) -> None:
    body = {
        "username": "alice",
        "password": "secret",
        "device_id": "PHONE",
        "initial_device_display_name": "phone",
        "refresh_token": True,
        "inhibit_login": True,
        "auth": DUMMY,
    }
    made = (await node.call("POST", "register?kind=guest", body)).json
    assert made["user_id"] != "@alice:localhost"
    assert made["device_id"] != "PHONE"
    assert "refresh_token" not in made
    device = await node.call("GET", f"devices/{made['device_id']}", token=made["access_token"])
    assert device.json["display_name"] == "phone"
    assert (await node.log_in(made["user_id"])).errcode == (403, "M_FORBIDDEN")


async def test_what_guests_may_and_may_not_do(node: AccountNode, guest: dict[str, Any]) -> None:
    token = guest["access_token"]
    device = f"devices/{guest['device_id']}"
    for method, path, body in [
        ("GET", "devices", None),
        ("GET", device, None),
        ("PUT", device, {"display_name": "x"}),
        ("GET", "account/whoami", None),
        ("GET", "capabilities", None),
        ("GET", "/_matrix/client/versions", None),
    ]:
        assert (await node.call(method, path, body, token)).status == 200
    for method, path in [
        ("DELETE", device),
        ("POST", "delete_devices"),
        ("POST", "account/password"),
        ("POST", "account/deactivate"),
    ]:
        answer = await node.call(method, path, {}, token)
        assert answer.errcode == (403, "M_GUEST_ACCESS_FORBIDDEN")


async def test_a_guest_may_log_out(node: AccountNode, guest: dict[str, Any]) -> None:
    assert (await node.call("POST", "logout", {}, guest["access_token"])).status == 200
    assert not await node.is_known(guest["access_token"])


async def test_guests_can_be_off(node_with: NodeMaker) -> None:
    section = RegistrationSection(without_verification=True, guests_allowed=False)
    async with node_with(registration=section) as node:
        answer = await node.call("POST", "register?kind=guest", {})
        assert answer.errcode == (403, "M_FORBIDDEN")
        assert (await node.register("alice"))["user_id"] == "@alice:localhost"


async def test_a_guest_becomes_a_user_of_the_same_name(
    node: AccountNode, guest: dict[str, Any]
) -> None:
    made = await node.register(localpart(guest), guest_access_token=guest["access_token"])
    assert made["user_id"] == guest["user_id"]
    assert not await node.is_known(guest["access_token"])
    whoami = await node.whoami(made["access_token"])
    assert whoami.json["is_guest"] is False
    assert await node.device_ids(made["access_token"]) == {made["device_id"]}
    assert (await node.log_in(guest["user_id"])).status == 200


async def test_a_guest_may_keep_the_device(node: AccountNode, guest: dict[str, Any]) -> None:
    made = await node.register(
        localpart(guest), guest_access_token=guest["access_token"], device_id=guest["device_id"]
    )
    assert await node.device_ids(made["access_token"]) == {guest["device_id"]}
    assert not await node.is_known(guest["access_token"])


async def test_an_upgrade_that_is_repeated_gives_the_same_user(
    node: AccountNode, guest: dict[str, Any]
) -> None:
    session = (await node.call("POST", "register", {})).json["session"]
    body = {
        "username": localpart(guest),
        "password": "secret",
        "guest_access_token": guest["access_token"],
        "auth": {**DUMMY, "session": session},
    }
    for _ in range(2):
        answer = await node.call("POST", "register", body)
        assert answer.json["user_id"] == guest["user_id"]


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"username": None}, (400, "M_MISSING_PARAM")),
        ({"username": "other"}, (400, "M_INVALID_USERNAME")),
        ({"guest_access_token": "nothing"}, (403, "M_FORBIDDEN")),
    ],
)
async def test_an_upgrade_needs_the_guests_token_and_name(
    node: AccountNode,
    guest: dict[str, Any],
    change: dict[str, Any],
    refusal: tuple[int, str],
) -> None:
    body = {
        "username": localpart(guest),
        "password": "secret",
        "guest_access_token": guest["access_token"],
        "auth": DUMMY,
        **change,
    }
    assert (await node.call("POST", "register", body)).errcode == refusal


async def test_a_user_is_no_guest_to_upgrade(node: AccountNode) -> None:
    made = await node.register("alice")
    body = {
        "username": "alice",
        "password": "stolen",
        "guest_access_token": made["access_token"],
        "auth": DUMMY,
    }
    assert (await node.call("POST", "register", body)).errcode == (403, "M_FORBIDDEN")
    assert (await node.log_in("alice")).status == 200
