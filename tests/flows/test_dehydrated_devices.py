"""Spec: MSC3814"""

import asyncio
from base64 import b64encode

import pytest
import vodozemac

from homeserver.services.dehydrated_devices import MAX_DEVICE_DATA_BYTES
from homeserver.services.to_device_inbox import MAX_BATCH
from tests.support.client import answer_of, quoted, refused
from tests.support.olm import OlmDevice
from tests.support.to_device import logs_in_again, sends_to_device, told

PATH = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
DATA = {"algorithm": "org.matrix.msc3814.v1.olm", "device_pickle": "ü"}
SECRET = bytes(range(32))


def body_of(device, **more):
    return {
        "device_id": device.device_id,
        "device_data": DATA,
        "device_keys": device.device_keys(dehydrated=True),
        **more,
    }


async def leaves(client, **more):
    """Leave a dehydrated device behind and return it."""
    device = OlmDevice(client.user_id)
    body = body_of(
        device,
        one_time_keys=device.one_time_keys(2),
        fallback_keys=device.fallback_keys(),
        **more,
    )
    assert await client.put(PATH, body) == {"device_id": device.device_id}
    return device


def events_path(device_id):
    return f"{PATH}/{quoted(device_id)}/events"


async def device_ids(client):
    return {each["device_id"] for each in (await client.get("devices"))["devices"]}


async def queried(client, user_id):
    answer = await client.post("keys/query", {"device_keys": {user_id: []}})
    return answer["device_keys"].get(user_id, {})


async def claimed(client, user_id, device_id):
    wanted = {"one_time_keys": {user_id: {device_id: "signed_curve25519"}}}
    answer = await client.post("keys/claim", wanted)
    return list(answer["one_time_keys"].get(user_id, {}).get(device_id, {}).values())


async def test_a_device_collects_room_keys_while_its_user_is_away(clients, alice, bob):
    device = OlmDevice(alice.user_id)
    keys = {"one_time_keys": device.one_time_keys(3), "fallback_keys": device.fallback_keys()}
    pickle = {"algorithm": "m.dehydration.v1.olm", "device_pickle": device.account.pickle(SECRET)}
    body = {**body_of(device), **keys, "device_data": pickle}
    await alice.put(PATH, body)
    await alice.post("logout")

    room_key = {"type": "m.room_key", "content": {"session_key": "of the room"}}
    phone = OlmDevice(bob.user_id, bob.device_id)
    content = await phone.encrypts_to(bob, alice.user_id, device.device_id, room_key)
    await sends_to_device(bob, {alice.user_id: {device.device_id: content}}, "m.room.encrypted")

    back = await logs_in_again(clients, alice, "LAPTOP")
    found = await back.get(PATH)
    assert found["device_id"] == device.device_id
    account = vodozemac.Account.from_pickle(found["device_data"]["device_pickle"], SECRET)
    woken = OlmDevice(alice.user_id, account=account)
    answer = await back.post(events_path(found["device_id"]))
    [event] = answer["events"]
    assert (event["type"], event["sender"]) == ("m.room.encrypted", bob.user_id)
    assert woken.decrypts(event["content"]) == room_key
    path = events_path(found["device_id"])
    last = await back.post(path, {"next_batch": answer["next_batch"]})
    assert last["events"] == []
    assert await back.delete(PATH) == {"device_id": device.device_id}
    assert await device_ids(back) == {"LAPTOP"}


async def test_the_device_is_found_as_it_was_left(alice):
    with refused(404, "M_NOT_FOUND"):
        await alice.get(PATH)
    device = await leaves(alice, initial_device_display_name="Dried")
    assert await alice.get(PATH) == {"device_id": device.device_id, "device_data": DATA}
    assert await device_ids(alice) == {alice.device_id, device.device_id}
    shown = await alice.get(f"devices/{quoted(device.device_id)}")
    assert shown["display_name"] == "Dried"


async def test_others_see_the_device_with_its_keys(alice, bob):
    device = await leaves(alice)
    keys = (await queried(bob, alice.user_id))[device.device_id]
    assert keys["dehydrated"] is True
    assert keys["keys"] == device.device_keys()["keys"]
    given = [await claimed(bob, alice.user_id, device.device_id) for _ in range(4)]
    fallback = [bool(each[0].get("fallback")) for each in given]
    assert fallback == [False, False, True, True]


async def test_another_one_takes_its_place(alice, bob):
    first = await leaves(alice)
    await sends_to_device(bob, {alice.user_id: {"*": {"n": 1}}})
    second = await leaves(alice)
    assert (await alice.get(PATH))["device_id"] == second.device_id
    assert await device_ids(alice) == {alice.device_id, second.device_id}
    assert first.device_id not in await queried(bob, alice.user_id)
    assert await claimed(bob, alice.user_id, first.device_id) == []
    for asks in (alice.post, alice.get):
        with refused(403, "M_FORBIDDEN"):
            await asks(events_path(first.device_id))
    assert (await alice.post(events_path(second.device_id)))["events"] == []
    assert await alice.get(events_path(second.device_id)) == {"events": []}


async def test_of_a_device_that_is_left_again_nothing_old_remains(alice, bob):
    device = await leaves(alice)
    await sends_to_device(bob, {alice.user_id: {device.device_id: {"n": 1}}})
    fresh = device.one_time_keys(1)
    await alice.put(PATH, body_of(device, one_time_keys=fresh))
    assert await claimed(bob, alice.user_id, device.device_id) == list(fresh.values())
    assert await claimed(bob, alice.user_id, device.device_id) == [], "not even a fallback key"
    assert (await alice.post(events_path(device.device_id)))["events"] == []


async def test_messages_come_in_batches_and_stay(clients, alice, bob):
    device = await leaves(alice)
    count = MAX_BATCH + 3
    for n in range(count):
        await sends_to_device(bob, {alice.user_id: {device.device_id: {"n": n}}})
    path = events_path(device.device_id)
    phone = await logs_in_again(clients, alice, "PHONE")
    for client in (alice, phone):
        first = await client.post(path)
        second = await client.post(path, {"next_batch": first["next_batch"]})
        third = await client.post(path, {"next_batch": second["next_batch"]})
        got = [event["content"]["n"] for event in first["events"] + second["events"]]
        assert len(first["events"]) == MAX_BATCH
        assert got == list(range(count))
        assert third == {"events": [], "next_batch": second["next_batch"]}
        # The proposal says GET now, and that the last answer has no token.
        page = await client.get(path)
        assert page == first
        page = await client.get(path, from_=page["next_batch"])
        assert page == {"events": second["events"]}
        assert told(await client.syncs()) == []


async def test_a_message_to_all_devices_waits_for_it(alice, bob):
    device = await leaves(alice)
    await sends_to_device(bob, {alice.user_id: {"*": {"n": 1}}})
    [event] = (await alice.post(events_path(device.device_id)))["events"]
    assert event == {"type": "m.dummy", "sender": bob.user_id, "content": {"n": 1}}


async def test_a_deleted_one_is_gone(alice, bob):
    device = await leaves(alice)
    assert await alice.delete(PATH) == {"device_id": device.device_id}
    for asked in (alice.delete(PATH), alice.get(PATH)):
        assert await answer_of(asked) == (404, "M_NOT_FOUND")
    assert await answer_of(alice.post(events_path(device.device_id))) == (403, "M_FORBIDDEN")
    assert await queried(bob, alice.user_id) == {}
    assert await device_ids(alice) == {alice.device_id}


async def test_devices_left_at_the_same_time_leave_one(alice):
    left = await asyncio.gather(*(leaves(alice) for _ in range(4)))
    found = (await alice.get(PATH))["device_id"]
    assert found in {device.device_id for device in left}
    assert await device_ids(alice) == {alice.device_id, found}


async def test_users_have_devices_of_their_own(alice, bob):
    device = await leaves(alice)
    with refused(404, "M_NOT_FOUND"):
        await bob.get(PATH)
    with refused(403, "M_FORBIDDEN"):
        await bob.post(events_path(device.device_id))
    await leaves(bob)
    assert (await alice.get(PATH))["device_id"] == device.device_id


async def test_a_session_is_not_overwritten(alice):
    own = OlmDevice(alice.user_id, alice.device_id)
    with refused(400, "M_INVALID_PARAM"):
        await alice.put(PATH, body_of(own))
    with refused(404, "M_NOT_FOUND"):
        await alice.get(PATH)
    await alice.get("account/whoami")


async def test_others_are_told_of_it_and_of_its_end(alice, bob):
    room = await alice.creates_room(preset="public_chat")
    await alice.sets(room, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    await bob.joins(room)
    since = (await bob.syncs())["next_batch"]
    await leaves(alice)
    answer = await bob.syncs(since)
    assert answer["device_lists"]["changed"] == [alice.user_id]
    await alice.delete(PATH)
    answer = await bob.syncs(answer["next_batch"])
    assert answer["device_lists"]["changed"] == [alice.user_id]


async def test_clients_can_see_that_it_is_there(alice):
    versions = await alice.get("/_matrix/client/versions")
    assert versions["unstable_features"]["org.matrix.msc3814"] is True


def without(name):
    return lambda body: {each: value for each, value in body.items() if each != name}


def changed(**more):
    return lambda body: {**body, **more}


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (without("device_id"), (400, "M_MISSING_PARAM")),
        (without("device_data"), (400, "M_MISSING_PARAM")),
        (without("device_keys"), (400, "M_MISSING_PARAM")),
        (changed(device_keys={}), (400, "M_MISSING_PARAM")),
        (changed(device_keys=[]), (400, "M_BAD_JSON")),
        (changed(device_keys={"user_id": "@alice:hs.example"}), (400, "M_BAD_JSON")),
        (changed(device_id=1), (400, "M_BAD_JSON")),
        (changed(device_id=""), (400, "M_INVALID_PARAM")),
        (changed(device_id="x" * 256), (400, "M_INVALID_PARAM")),
        (changed(device_id="another"), (400, "M_BAD_JSON")),
        (changed(device_data="text"), (400, "M_BAD_JSON")),
        (changed(device_data={}), (400, "M_MISSING_PARAM")),
        (changed(device_data={"algorithm": 1}), (400, "M_INVALID_PARAM")),
        (
            changed(device_data={**DATA, "x": "x" * MAX_DEVICE_DATA_BYTES}),
            (413, "M_TOO_LARGE"),
        ),
        (changed(initial_device_display_name=1), (400, "M_BAD_JSON")),
        (changed(one_time_keys=[1]), (400, "M_BAD_JSON")),
        (changed(one_time_keys={"noname": "x"}), (400, "M_BAD_JSON")),
        (changed(one_time_keys={"signed_curve25519:A": {"key": "x"}}), (400, "M_BAD_JSON")),
        (changed(fallback_keys="x"), (400, "M_BAD_JSON")),
        (changed(x="x" * 1024 * 1024), (413, "M_TOO_LARGE")),
    ],
)
async def test_bad_devices_are_refused(alice, change, refusal):
    body = change(body_of(OlmDevice(alice.user_id)))
    assert await answer_of(alice.put(PATH, body)) == refusal
    assert await device_ids(alice) == {alice.device_id}


async def test_keys_of_somebody_else_or_wrongly_signed_are_refused(alice, bob):
    with refused(400, "M_BAD_JSON"):
        await alice.put(PATH, body_of(OlmDevice(bob.user_id)))
    body = body_of(OlmDevice(alice.user_id))
    body["device_keys"]["algorithms"] = []
    with refused(400, "M_INVALID_SIGNATURE"):
        await alice.put(PATH, body)
    body = body_of(OlmDevice(alice.user_id))
    signature = {f"ed25519:{body['device_id']}": b64encode(bytes(64)).decode()}
    body["device_keys"]["signatures"] = {alice.user_id: signature}
    with refused(400, "M_INVALID_SIGNATURE"):
        await alice.put(PATH, body)
    assert await device_ids(alice) == {alice.device_id}


@pytest.mark.parametrize("next_batch", ["", "x", "d", "d01", "d-1", "1", "d" + "9" * 19])
async def test_a_token_that_was_never_given_is_refused(alice, next_batch):
    device = await leaves(alice)
    with refused(400, "M_INVALID_PARAM"):
        await alice.post(events_path(device.device_id), {"next_batch": next_batch})
    with refused(400, "M_INVALID_PARAM"):
        await alice.get(events_path(device.device_id), from_=next_batch)


async def test_guests_and_strangers_leave_nothing(clients, guest):
    device = OlmDevice(guest.user_id)
    assert await answer_of(guest.put(PATH, body_of(device))) == (403, "M_GUEST_ACCESS_FORBIDDEN")
    assert await answer_of(clients.nobody().get(PATH)) == (401, "M_MISSING_TOKEN")
