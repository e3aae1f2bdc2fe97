"""Spec: client-server-api/#account-deactivation"""

import pytest

from homeserver.errors import RemoteError
from homeserver.protocol.identifiers import UserID
from homeserver.services.deactivation import Deactivation, DeactivationForm
from homeserver.services.reauthentication import Reauthentication
from homeserver.services.uia import Uia
from homeserver.storage.accounts import NewAccountRow
from homeserver.web.requester import Requester
from tests.support.account_node import FACTS, AccountNode

ALICE = UserID("@alice:localhost")
AUTH = {"type": "m.login.password", "user": "alice", "password": "secret"}


class RoomsLeft:
    """Remembers whose rooms were left; fails while it is told to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.left: list[UserID] = []
        self.fails = fails

    async def leave_all(self, user_id: UserID) -> None:
        if self.fails:
            raise RemoteError("elsewhere", "it is down")
        self.left.append(user_id)


def deactivation(node: AccountNode, rooms: RoomsLeft) -> Deactivation:
    base = node.base
    reauthentication = Reauthentication(Uia(base.database, [], base.clock), base.database)
    return Deactivation(
        reauthentication,
        rooms,
        node.layer.addresses.bindings,
        base.database,
        node.layer.changes,
        base.tasks,
        base.clock,
    )


async def test_the_account_ends_with_its_sessions(node: AccountNode) -> None:
    token = (await node.register("alice", device_id="PHONE"))["access_token"]
    other = (await node.log_in("alice")).json["access_token"]
    answer = await node.call("POST", "account/deactivate", {"auth": AUTH}, token)
    assert (answer.status, answer.json) == (200, {"id_server_unbind_result": "success"})
    for each in (token, other):
        assert (await node.whoami(each)).errcode == (401, "M_UNKNOWN_TOKEN")
    assert (await node.log_in("alice")).errcode == (403, "M_FORBIDDEN")
    log = await node.log()
    assert (ALICE, "account_changed", None) in log
    assert (ALICE, "tokens_revoked", None) in log
    assert (ALICE, "device_changed", "PHONE") in log


async def test_the_password_is_asked_for(node: AccountNode) -> None:
    token = (await node.register("alice"))["access_token"]
    challenge = await node.call("POST", "account/deactivate", {}, token)
    assert challenge.status == 401
    wrong = {"auth": {**AUTH, "password": "wrong"}}
    assert (await node.call("POST", "account/deactivate", wrong, token)).errcode == (
        401,
        "M_FORBIDDEN",
    )
    assert await node.is_known(token)


async def test_the_password_is_deleted_and_the_name_stays_taken(node: AccountNode) -> None:
    token = (await node.register("alice"))["access_token"]
    await node.call("POST", "account/deactivate", {"auth": AUTH}, token)
    account = await node.layer.accounts.get(ALICE)
    assert account is not None
    assert account.password_hash is None
    assert account.deactivated_ts == node.base.clock.now_ms()
    assert not account.is_erased
    answer = await node.call("GET", "register/available?username=alice")
    assert answer.errcode == (400, "M_USER_IN_USE")


async def test_the_user_may_ask_to_be_erased(node: AccountNode) -> None:
    token = (await node.register("alice"))["access_token"]
    body = {"auth": AUTH, "erase": True}
    assert (await node.call("POST", "account/deactivate", body, token)).status == 200
    account = await node.layer.accounts.get(ALICE)
    assert account is not None
    assert account.is_erased


async def test_without_a_session_nobody_can_ask(node: AccountNode) -> None:
    answer = await node.call("POST", "account/deactivate", {"auth": AUTH})
    assert answer.errcode == (401, "M_MISSING_TOKEN")


async def test_rooms_are_left(node: AccountNode) -> None:
    token = (await node.register("alice"))["access_token"]
    bob = (await node.register("bob"))["access_token"]
    room = await node.call("POST", "createRoom", {"preset": "public_chat"}, token)
    room_id = room.json["room_id"]
    assert (await node.call("POST", f"join/{room_id}", {}, bob)).status == 200
    position = (await node.call("GET", "sync", token=bob)).json["next_batch"]
    await node.call("POST", "account/deactivate", {"auth": AUTH}, token)
    # A long poll of somebody who is left ends when the user has gone.
    for _ in range(12):
        changes = await node.call("GET", f"sync?since={position}&timeout=5000", token=bob)
        position = changes.json["next_batch"]
        joined = changes.json.get("rooms", {}).get("join", {})
        events = joined.get(room_id, {}).get("timeline", {}).get("events", [])
        if [event["state_key"] for event in events if event["content"]["membership"] == "leave"]:
            break
    members = await node.call("GET", f"rooms/{room_id}/joined_members", token=bob)
    assert list(members.json["joined"]) == ["@bob:localhost"]


async def test_leaving_that_was_interrupted_is_finished_later(node: AccountNode) -> None:
    await node.layer.accounts.create(NewAccountRow(ALICE, 1))
    failing = RoomsLeft(fails=True)
    assert await deactivation(node, failing).deactivate(ALICE, is_erased=False)
    rooms = RoomsLeft()
    ended = deactivation(node, rooms)
    await ended.finish()
    await ended.finish()
    assert rooms.left == [ALICE]


async def test_an_account_ends_once(node: AccountNode) -> None:
    await node.layer.accounts.create(NewAccountRow(ALICE, 1))
    ended = deactivation(node, RoomsLeft())
    assert await ended.deactivate(ALICE, is_erased=False)
    assert not await ended.deactivate(ALICE, is_erased=True)
    assert not await ended.deactivate(UserID("@nobody:localhost"), is_erased=False)


async def test_an_application_service_needs_no_further_proof(node: AccountNode) -> None:
    await node.layer.accounts.create(NewAccountRow(ALICE, 1, appservice_id="irc"))
    bridge = Requester(user_id=ALICE, appservice_id="irc")
    await deactivation(node, RoomsLeft()).ask(bridge, DeactivationForm(), FACTS)
    account = await node.layer.accounts.get(ALICE)
    assert account is not None
    assert account.deactivated_ts is not None


@pytest.mark.parametrize("is_locked", [True, False])
async def test_a_suspended_user_may_deactivate_and_a_locked_one_may_not(
    node: AccountNode, is_locked: bool
) -> None:
    token = (await node.register("alice"))["access_token"]
    await node.layer.accounts.set_suspended(ALICE, is_suspended=True)
    await node.layer.accounts.set_locked(ALICE, is_locked=is_locked)
    answer = await node.call("POST", "account/deactivate", {"auth": AUTH}, token)
    assert answer.status == (401 if is_locked else 200)
