"""Spec: client-server-api/#device-management"""

from typing import Any

import pytest

from client_api.routes.devices import DevicePath, DeviceRoutes, UpdateDeviceBody
from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.services.device_removal import (
    DeviceRemoval,
    RemoveDeviceForm,
    RemoveDevicesForm,
)
from homeserver.services.devices import Devices
from homeserver.services.reauthentication import Reauthentication
from homeserver.services.uia import Uia
from homeserver.storage.accounts import NewAccountRow
from homeserver.web.answers import Empty, JsonBytes
from homeserver.web.requester import Requester
from tests.support.account_node import FACTS, AccountNode
from tests.support.clock import FakeClock

PASSWORD = {
    "type": "m.login.password",
    "identifier": {"type": "m.id.user", "user": "@alice:localhost"},
    "password": "secret",
}


@pytest.fixture
async def phone(node: AccountNode) -> str:
    """The access token of Alice's phone."""
    made = await node.register("alice", device_id="PHONE", initial_device_display_name="phone")
    return str(made["access_token"])


@pytest.fixture
async def tablet(node: AccountNode, phone: str) -> str:
    """The access token of Alice's tablet."""
    return str((await node.log_in("alice", device_id="TABLET")).json["access_token"])


async def test_all_devices_are_listed_with_what_is_known_of_them(
    node: AccountNode, phone: str, tablet: str
) -> None:
    answer = await node.call("GET", "devices", token=phone)
    assert answer.json["devices"] == [
        {
            "device_id": "PHONE",
            "display_name": "phone",
            "last_seen_ip": None,
            "last_seen_ts": None,
        },
        {
            "device_id": "TABLET",
            "display_name": None,
            "last_seen_ip": None,
            "last_seen_ts": None,
        },
    ]


async def test_a_device_of_somebody_else_is_not_found(node: AccountNode, phone: str) -> None:
    bob = (await node.register("bob"))["access_token"]
    for method, body in [("GET", None), ("PUT", {"display_name": "x"}), ("PUT", {})]:
        answer = await node.call(method, "devices/PHONE", body, bob)
        assert answer.errcode == (404, "M_NOT_FOUND")


async def test_a_device_is_renamed_and_the_log_tells_of_it(node: AccountNode, phone: str) -> None:
    answer = await node.call("PUT", "devices/PHONE", {"display_name": "new"}, phone)
    assert (answer.status, answer.json) == (200, {})
    assert (await node.call("GET", "devices/PHONE", token=phone)).json["display_name"] == "new"
    assert (await node.log())[-1] == ("@alice:localhost", "device_changed", "PHONE")


@pytest.mark.parametrize("body", [{}, {"display_name": None}])
async def test_without_a_name_the_name_stays(
    node: AccountNode, phone: str, body: dict[str, Any]
) -> None:
    assert (await node.call("PUT", "devices/PHONE", body, phone)).status == 200
    assert (await node.call("GET", "devices/PHONE", token=phone)).json["display_name"] == "phone"


async def test_a_long_name_is_refused(node: AccountNode, phone: str) -> None:
    answer = await node.call("PUT", "devices/PHONE", {"display_name": "x" * 101}, phone)
    assert answer.errcode == (400, "M_TOO_LARGE")


async def test_removing_a_device_takes_the_password(
    node: AccountNode, phone: str, tablet: str
) -> None:
    challenge = await node.call("DELETE", "devices/TABLET", {}, phone)
    assert challenge.status == 401
    assert challenge.json["flows"] == [{"stages": ["m.login.password"]}]
    session = {"session": challenge.json["session"]}

    wrong = {"auth": {**PASSWORD, **session, "password": "wrong"}}
    refused = await node.call("DELETE", "devices/TABLET", wrong, phone)
    assert refused.errcode == (401, "M_FORBIDDEN")
    assert refused.json["session"] == challenge.json["session"]
    assert "completed" not in refused.json
    assert await node.is_known(tablet)

    right = {"auth": {**PASSWORD, **session}}
    assert (await node.call("DELETE", "devices/TABLET", right, phone)).json == {}
    assert not await node.is_known(tablet)
    assert await node.device_ids(phone) == {"PHONE"}
    assert (await node.log())[-2:] == [
        ("@alice:localhost", "tokens_revoked", None),
        ("@alice:localhost", "device_changed", "TABLET"),
    ]


async def test_a_request_without_a_body_is_challenged_too(node: AccountNode, phone: str) -> None:
    assert (await node.call("DELETE", "devices/PHONE", token=phone)).status == 401


async def test_the_password_must_be_that_of_who_asks(node: AccountNode, phone: str) -> None:
    bob = (await node.register("bob", password="bobs"))["access_token"]
    auth = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "bob"},
        "password": "bobs",
    }
    answer = await node.call("DELETE", "devices/PHONE", {"auth": auth}, phone)
    assert answer.errcode == (403, "M_FORBIDDEN")
    assert await node.is_known(phone)
    assert await node.is_known(bob)


async def test_a_session_is_for_one_device_and_one_user(
    node: AccountNode, phone: str, tablet: str
) -> None:
    challenge = await node.call("DELETE", "devices/TABLET", {}, phone)
    auth = {**PASSWORD, "session": challenge.json["session"]}
    other_device = await node.call("DELETE", "devices/PHONE", {"auth": auth}, phone)
    assert other_device.errcode == (403, "M_FORBIDDEN")
    bob = (await node.register("bob"))["access_token"]
    other_user = await node.call("DELETE", "devices/TABLET", {"auth": auth}, bob)
    assert other_user.errcode == (403, "M_FORBIDDEN")
    assert await node.device_ids(phone) == {"PHONE", "TABLET"}


async def test_removing_again_gives_the_same_answer(
    node: AccountNode, phone: str, tablet: str
) -> None:
    challenge = await node.call("DELETE", "devices/TABLET", {}, phone)
    auth = {**PASSWORD, "session": challenge.json["session"]}
    for _ in range(2):
        answer = await node.call("DELETE", "devices/TABLET", {"auth": auth}, phone)
        assert (answer.status, answer.json) == (200, {})


async def test_several_devices_are_removed_at_once(
    node: AccountNode, phone: str, tablet: str
) -> None:
    body = {"devices": ["TABLET", "NOTHING"], "auth": PASSWORD}
    assert (await node.call("POST", "delete_devices", body, phone)).status == 200
    assert await node.device_ids(phone) == {"PHONE"}
    assert not await node.is_known(tablet)


async def test_the_devices_to_remove_are_remembered_for_a_bare_session(
    node: AccountNode, phone: str, tablet: str
) -> None:
    challenge = await node.call("POST", "delete_devices", {"devices": ["TABLET"]}, phone)
    auth = {**PASSWORD, "session": challenge.json["session"]}
    assert (await node.call("POST", "delete_devices", {"auth": auth}, phone)).status == 200
    assert await node.device_ids(phone) == {"PHONE"}


async def test_removing_no_devices_says_what_is_missing(node: AccountNode, phone: str) -> None:
    for body in ({}, {"auth": PASSWORD}):
        answer = await node.call("POST", "delete_devices", body, phone)
        assert answer.errcode == (400, "M_MISSING_PARAM")


async def test_one_may_remove_the_device_one_uses(node: AccountNode, phone: str) -> None:
    assert (await node.call("DELETE", "devices/PHONE", {"auth": PASSWORD}, phone)).status == 200
    assert (await node.whoami(phone)).errcode == (401, "M_UNKNOWN_TOKEN")


async def test_logging_out_removes_the_device(node: AccountNode, phone: str, tablet: str) -> None:
    assert (await node.call("POST", "logout", {}, phone)).json == {}
    assert (await node.whoami(phone)).errcode == (401, "M_UNKNOWN_TOKEN")
    assert await node.device_ids(tablet) == {"TABLET"}


async def test_logging_out_everywhere_removes_all_devices(
    node: AccountNode, phone: str, tablet: str
) -> None:
    assert (await node.call("POST", "logout/all", {}, phone)).json == {}
    for token in (phone, tablet):
        assert (await node.whoami(token)).errcode == (401, "M_UNKNOWN_TOKEN")
    again = (await node.log_in("alice", device_id="NEW")).json["access_token"]
    assert await node.device_ids(again) == {"NEW"}


async def test_when_and_where_a_device_was_seen_is_written_in_the_background(
    node: AccountNode, phone: str, clock: FakeClock
) -> None:
    await node.call("GET", "devices", token=phone)
    seen_ms = clock.now_ms()
    await node.layer.last_seen.write()
    device = (await node.call("GET", "devices/PHONE", token=phone)).json
    assert device["last_seen_ts"] == seen_ms
    assert device["last_seen_ip"] == "127.0.0.1"


class TestApplicationServices:
    """Spec: application-service-api/#device-management"""

    USER = UserID("@_irc_bob:localhost")
    BRIDGE = Requester(user_id=USER, appservice_id="irc")

    @pytest.fixture
    async def routes(self, node: AccountNode) -> DeviceRoutes:
        await node.layer.accounts.create(NewAccountRow(self.USER, 1, appservice_id="irc"))
        base = node.base
        devices = Devices(base.database, node.layer.changes, base.clock)
        reauthentication = Reauthentication(Uia(base.database, [], base.clock), base.database)
        return DeviceRoutes(devices, DeviceRemoval(reauthentication, devices))

    async def test_a_device_is_created_and_then_updated(self, routes: DeviceRoutes) -> None:
        path = DevicePath(device_id=DeviceID("BRIDGED"))
        created = await routes.update_device(self.BRIDGE, path, UpdateDeviceBody(display_name="a"))
        assert created == JsonBytes(b"{}", status=201)
        updated = await routes.update_device(self.BRIDGE, path, UpdateDeviceBody(display_name="b"))
        assert updated == Empty()
        device = await routes.get_device(self.BRIDGE, path)
        assert device.display_name == "b"

    async def test_devices_are_removed_without_further_proof(self, routes: DeviceRoutes) -> None:
        for device_id in ("ONE", "TWO", "THREE"):
            path = DevicePath(device_id=DeviceID(device_id))
            await routes.update_device(self.BRIDGE, path, UpdateDeviceBody())
        path = DevicePath(device_id=DeviceID("ONE"))
        await routes.delete_device(self.BRIDGE, path, RemoveDeviceForm(), FACTS)
        form = RemoveDevicesForm(devices=[DeviceID("TWO")])
        await routes.delete_devices(self.BRIDGE, form, FACTS)
        left = await routes.get_devices(self.BRIDGE)
        assert [device.device_id for device in left.devices] == ["THREE"]
