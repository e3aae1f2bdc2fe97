"""The device lists of other servers' users, as far as local users share rooms with them.

Spec: server-server-api/#device-management
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.support.client import Client, clients_of, quoted
from tests.support.federation import NamedServer
from tests.support.key_uploads import CrossSigner
from tests.support.olm import OlmDevice
from tests.support.peer_server import PeerServer, hangs
from tests.support.remote_member import RemoteMember


@pytest.fixture
async def alice(server: NamedServer) -> AsyncIterator[Client]:
    async with clients_of(server.url) as clients:
        yield await clients.user("alice")


@pytest.fixture
def eve(server: NamedServer, peer: PeerServer) -> RemoteMember:
    return RemoteMember(server, peer, "eve")


@pytest.fixture
async def room(alice: Client, eve: RemoteMember) -> str:
    """A room of Alice and Eve."""
    room_id = await alice.creates_room(preset="public_chat")
    await eve.joins(room_id)
    return room_id


def listed(eve: RemoteMember, device: OlmDevice, stream_id: int, **more) -> dict:
    keys = device.device_keys()
    return {
        "user_id": eve.user_id,
        "stream_id": stream_id,
        "devices": [{"device_id": device.device_id, "keys": keys}],
        **more,
    }


async def asked_for_keys(alice: Client, eve: RemoteMember) -> dict:
    answer = await alice.post("keys/query", {"device_keys": {eve.user_id: []}})
    return answer["device_keys"].get(eve.user_id, {})


async def waits_for_change(alice: Client, eve: RemoteMember, since: str) -> str:
    """Sync until Eve's devices have changed; return the next token."""
    for _ in range(5):
        answer = await alice.syncs(since, timeout=5000)
        since = answer["next_batch"]
        if eve.user_id in answer.get("device_lists", {}).get("changed", []):
            return since
    raise AssertionError


async def knows_list(eve: RemoteMember) -> int | None:
    """Return as of which update a list is known that is not stale."""
    async with eve.server.running.base.database.connection() as connection:
        return await connection.fetchval(
            "SELECT stream_id FROM remote_device_lists WHERE user_id = $1 AND NOT is_stale",
            eve.user_id,
        )


async def test_device_lists_are_kept_in_step(alice, eve, room):
    path = f"/_matrix/federation/v1/user/devices/{quoted(eve.user_id)}"
    phone, tablet = OlmDevice(eve.user_id, "PHONE"), OlmDevice(eve.user_id, "TABLET")
    eve.peer.answers("GET", path, listed(eve, phone, 10))
    since = (await alice.syncs())["next_batch"]
    # The first one: the list is asked for.
    update = {"user_id": eve.user_id, "device_id": "PHONE", "stream_id": 10, "prev_id": []}
    await eve.says("m.device_list_update", update)
    while await knows_list(eve) is None:
        since = await waits_for_change(alice, eve, since)
    assert len(eve.peer.asked(path)) == 1
    assert list(await asked_for_keys(alice, eve)) == ["PHONE"]
    # The next one fits.
    since = (await alice.syncs(since))["next_batch"]
    update = {
        "user_id": eve.user_id,
        "device_id": "TABLET",
        "stream_id": 11,
        "prev_id": [10],
        "device_display_name": "Tablet",
        "keys": tablet.device_keys(),
    }
    await eve.says("m.device_list_update", update)
    since = await waits_for_change(alice, eve, since)
    keys = await asked_for_keys(alice, eve)
    assert keys["TABLET"]["unsigned"] == {"device_display_name": "Tablet"}
    assert await knows_list(eve) == 11
    # One is missing: the list is asked for again.
    eve.peer.answers("GET", path, listed(eve, tablet, 14))
    update |= {"stream_id": 14, "prev_id": [13]}
    await eve.says("m.device_list_update", update)
    while await knows_list(eve) != 14:
        since = await waits_for_change(alice, eve, since)
    assert list(await asked_for_keys(alice, eve)) == ["TABLET"]
    assert len(eve.peer.asked(path)) == 2
    # One that is known already.
    await eve.says("m.device_list_update", {**update, "deleted": True})
    assert list(await asked_for_keys(alice, eve)) == ["TABLET"]
    update = {"user_id": eve.user_id, "device_id": "TABLET", "stream_id": 15, "prev_id": [14]}
    await eve.says("m.device_list_update", {**update, "deleted": True})
    assert await asked_for_keys(alice, eve) == {}
    assert len(eve.peer.asked(path)) == 2


async def test_the_list_of_who_shares_no_room_any_more_is_forgotten(alice, eve, room):
    path = f"/_matrix/federation/v1/user/devices/{quoted(eve.user_id)}"
    eve.peer.answers("GET", path, listed(eve, OlmDevice(eve.user_id, "PHONE"), 10))
    since = (await alice.syncs())["next_batch"]
    update = {"user_id": eve.user_id, "device_id": "PHONE", "stream_id": 10}
    await eve.says("m.device_list_update", update)
    while await knows_list(eve) is None:
        since = await waits_for_change(alice, eve, since)
    await eve.makes(room, "m.room.member", {"membership": "leave"}, eve.user_id)
    async with eve.server.running.base.database.connection() as connection:
        for _ in range(1000):
            if await connection.fetchval("SELECT count(*) FROM remote_device_lists") == 0:
                break
        else:
            raise AssertionError


async def test_new_cross_signing_keys_are_told_and_shown(alice, eve, room):
    path = f"/_matrix/federation/v1/user/devices/{quoted(eve.user_id)}"
    eve.peer.answers("GET", path, listed(eve, OlmDevice(eve.user_id, "PHONE"), 10))
    since = (await alice.syncs())["next_batch"]
    update = {"user_id": eve.user_id, "device_id": "PHONE", "stream_id": 10}
    await eve.says("m.device_list_update", update)
    while await knows_list(eve) is None:
        since = await waits_for_change(alice, eve, since)
    since = (await alice.syncs(since))["next_batch"]
    keys = CrossSigner(eve.user_id).keys
    await eve.says(
        "m.signing_key_update",
        {
            "user_id": eve.user_id,
            "master_key": keys["master_key"],
            "self_signing_key": keys["self_signing_key"],
        },
    )
    await waits_for_change(alice, eve, since)
    answer = await alice.post("keys/query", {"device_keys": {eve.user_id: []}})
    shown = answer["master_keys"][eve.user_id]["keys"]
    assert shown == keys["master_key"]["keys"]
    assert eve.user_id in answer["self_signing_keys"]


def path_of_list(eve: RemoteMember) -> str:
    return f"/_matrix/federation/v1/user/devices/{quoted(eve.user_id)}"


async def list_becomes(eve: RemoteMember, stream_id: int | None) -> None:
    """Wait until a list is known as of an update, or none."""
    async with asyncio.timeout(30):
        while await knows_list(eve) != stream_id:
            pass


async def nobody_is_asked(eve: RemoteMember) -> None:
    """Wait until the answers to all questions are dealt with."""
    async with asyncio.timeout(30):
        while eve.server.running.parts.keys.remote_devices._asking:
            await knows_list(eve)


async def test_a_question_for_keys_begins_to_keep_the_list(alice, eve, room):
    phone = OlmDevice(eve.user_id, "PHONE")
    query = "/_matrix/federation/v1/user/keys/query"
    eve.peer.answers("POST", query, {"device_keys": {eve.user_id: {"PHONE": phone.device_keys()}}})
    eve.peer.answers("GET", path_of_list(eve), listed(eve, phone, 10))
    since = (await alice.syncs())["next_batch"]
    assert list(await asked_for_keys(alice, eve)) == ["PHONE"]
    await list_becomes(eve, 10)
    # From here on nobody is asked, and what is known already is not told as news.
    assert list(await asked_for_keys(alice, eve)) == ["PHONE"]
    assert len(eve.peer.asked(query)) == 1
    assert eve.user_id not in (await alice.syncs(since)).get("device_lists", {}).get("changed", [])
    # Of strangers nothing is kept.
    stranger = f"@stranger:{eve.peer.name}"
    for _ in range(2):
        await alice.post("keys/query", {"device_keys": {stranger: []}})
    assert len(eve.peer.asked(query)) == 3


async def test_who_could_not_be_asked_is_told_when_the_list_can_be_had(alice, eve, room):
    since = (await alice.syncs())["next_batch"]
    assert await asked_for_keys(alice, eve) == {}
    eve.peer.answers("GET", path_of_list(eve), listed(eve, OlmDevice(eve.user_id, "PHONE"), 10))
    await eve.server.running.parts.keys.remote_devices.retry()
    await waits_for_change(alice, eve, since)
    assert list(await asked_for_keys(alice, eve)) == ["PHONE"]


async def test_an_update_that_names_none_before_it_has_the_list_asked_for(alice, eve, room):
    """Some servers send the same placeholder whenever a device has changed."""
    phone, tablet = OlmDevice(eve.user_id, "PHONE"), OlmDevice(eve.user_id, "TABLET")
    placeholder = {"user_id": eve.user_id, "device_id": "placeholder", "stream_id": 1}
    for device, stream_id in ((phone, 1_000), (tablet, 2_000)):
        eve.peer.answers("GET", path_of_list(eve), listed(eve, device, stream_id))
        await eve.says("m.device_list_update", {**placeholder, "prev_id": []})
        await list_becomes(eve, stream_id)
        assert list(await asked_for_keys(alice, eve)) == [device.device_id]


async def test_an_old_answer_does_not_replace_what_another_node_knows(alice, eve, room):
    phone = OlmDevice(eve.user_id, "PHONE")
    arrived, may_answer = asyncio.Event(), asyncio.Event()

    async def answers_late(_request: web.BaseRequest) -> web.StreamResponse:
        arrived.set()
        await may_answer.wait()
        return web.json_response(listed(eve, phone, 10))

    async def elsewhere(what: str) -> None:
        async with eve.server.running.base.database.connection() as connection:
            await connection.execute(f"UPDATE remote_device_lists SET {what}")

    since = (await alice.syncs())["next_batch"]
    eve.peer.answers("GET", path_of_list(eve), answers_late)
    update = {"user_id": eve.user_id, "device_id": "PHONE", "stream_id": 10}
    await eve.says("m.device_list_update", update)
    await arrived.wait()
    # The other node has asked later, and was told more.
    await elsewhere("is_stale = false, stream_id = 20")
    since = await waits_for_change(alice, eve, since)
    may_answer.set()
    await nobody_is_asked(eve)
    assert await knows_list(eve) == 20
    # The other node learns of an update that may not be in the answer yet.
    arrived.clear()
    may_answer.clear()
    await eve.says("m.device_list_update", {**update, "stream_id": 30})
    await arrived.wait()
    await elsewhere("stream_id = 31")
    may_answer.set()
    await nobody_is_asked(eve)
    assert await knows_list(eve) is None


@pytest.mark.parametrize("half", ["master_key", "self_signing_key"])
async def test_one_cross_signing_key_alone_has_the_list_asked_for(alice, eve, room, half):
    phone = OlmDevice(eve.user_id, "PHONE")
    before, keys = CrossSigner(eve.user_id).keys, CrossSigner(eve.user_id).keys
    before, both = (
        {name: each[name] for name in ("master_key", "self_signing_key")} for each in (before, keys)
    )
    eve.peer.answers("GET", path_of_list(eve), listed(eve, phone, 10, **before))
    update = {"user_id": eve.user_id, "device_id": "PHONE", "stream_id": 10}
    await eve.says("m.device_list_update", update)
    await list_becomes(eve, 10)
    eve.peer.answers("GET", path_of_list(eve), listed(eve, phone, 11, **both))
    await eve.says("m.signing_key_update", {"user_id": eve.user_id, half: keys[half]})
    await list_becomes(eve, 11)
    answer = await alice.post("keys/query", {"device_keys": {eve.user_id: []}})
    assert answer["self_signing_keys"][eve.user_id]["keys"] == keys["self_signing_key"]["keys"]


async def test_a_slow_server_keeps_no_other_waiting(alice, eve, room, other_peer: PeerServer):
    fred = f"@fred:{other_peer.name}"
    slow = [f"@slow{number}:{eve.peer.name}" for number in range(60)]
    for user_id in slow:
        eve.peer.answers("GET", f"/_matrix/federation/v1/user/devices/{quoted(user_id)}", hangs)
    other_peer.answers(
        "GET",
        f"/_matrix/federation/v1/user/devices/{quoted(fred)}",
        {"user_id": fred, "stream_id": 7, "devices": []},
    )
    running = eve.server.running
    async with running.base.database.connection() as connection:
        await connection.execute(
            "INSERT INTO memberships (user_id, room_nid, membership, pos, event_nid, sender)"
            " SELECT u, room_nid, membership, pos, event_nid, u"
            " FROM memberships, unnest($1::text[]) u WHERE user_id = $2",
            [*slow, fred],
            alice.user_id,
        )
        await connection.execute(
            "INSERT INTO remote_device_lists (user_id, stream_id, is_stale)"
            " SELECT u, 0, true FROM unnest($1::text[]) u",
            [*slow, fred],
        )
        await running.parts.keys.remote_devices.retry()
        async with asyncio.timeout(30):
            while await connection.fetchval(
                "SELECT is_stale FROM remote_device_lists WHERE user_id = $1", fred
            ):
                pass
