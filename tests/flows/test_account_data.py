"""Spec: client-server-api/#client-config"""

import asyncio
import json

import pytest

from tests.support.account_data import (
    deletes_account_data,
    global_account_data,
    reads_account_data,
    room_account_data,
    sets_account_data,
)
from tests.support.client import quoted, refused

TYPE = "org.example.config"
UNKNOWN_ROOM = "!nowhere:hs.example"


async def test_account_data_is_read_as_it_was_written(alice):
    content = {"a": [1, 0.5, None, {"ü": "\u0000"}]}
    await sets_account_data(alice, TYPE, content)
    assert await reads_account_data(alice, TYPE) == content
    await sets_account_data(alice, TYPE, {"b": 2})
    assert await reads_account_data(alice, TYPE) == {"b": 2}


async def test_global_and_room_account_data_are_apart(alice):
    room = await alice.creates_room()
    await sets_account_data(alice, TYPE, {"for": "everywhere"})
    with refused(404, "M_NOT_FOUND"):
        await reads_account_data(alice, TYPE, room)
    await sets_account_data(alice, TYPE, {"for": "room"}, room)
    assert await reads_account_data(alice, TYPE, room) == {"for": "room"}
    assert await reads_account_data(alice, TYPE) == {"for": "everywhere"}


async def test_what_nobody_has_written_is_not_found(alice):
    room = await alice.creates_room()
    for place in (None, room, UNKNOWN_ROOM):
        with refused(404, "M_NOT_FOUND"):
            await reads_account_data(alice, TYPE, place)


async def test_users_have_account_data_of_their_own(alice, bob):
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    await sets_account_data(alice, TYPE, {"of": "alice"}, room)
    with refused(404, "M_NOT_FOUND"):
        await reads_account_data(bob, TYPE, room)
    assert room_account_data(await bob.syncs(), room) == {}
    for path in (
        f"user/{quoted(alice.user_id)}/account_data/{TYPE}",
        f"user/{quoted(alice.user_id)}/rooms/{quoted(room)}/account_data/{TYPE}",
    ):
        with refused(403, "M_FORBIDDEN"):
            await bob.get(path)
        with refused(403, "M_FORBIDDEN"):
            await bob.put(path, {})
        with refused(403, "M_FORBIDDEN"):
            await bob.delete(f"/_matrix/client/unstable/org.matrix.msc3391/{path}")


async def test_a_room_that_the_user_has_nothing_to_do_with_is_unknown(alice, bob):
    room = await alice.creates_room()
    for place in (room, UNKNOWN_ROOM):
        with refused(404, "M_NOT_FOUND"):
            await sets_account_data(bob, TYPE, {"a": 1}, place)
    await alice.invites(room, bob)
    await sets_account_data(bob, TYPE, {"a": 1}, room)
    assert await reads_account_data(bob, TYPE, room) == {"a": 1}


@pytest.mark.parametrize("event_type", ["m.fully_read", "m.push_rules"])
async def test_types_that_the_server_manages_cannot_be_set(alice, event_type):
    room = await alice.creates_room()
    for place in (None, room):
        with refused(405, "M_BAD_JSON"):
            await sets_account_data(alice, event_type, {"a": 1}, place)
        with refused(405, "M_BAD_JSON"):
            await deletes_account_data(alice, event_type, place)


async def test_the_push_rules_are_account_data_that_can_be_read(alice):
    rules = await alice.get("pushrules/")
    assert await reads_account_data(alice, "m.push_rules") == rules
    assert global_account_data(await alice.syncs())["m.push_rules"] == rules
    room = await alice.creates_room()
    with refused(404, "M_NOT_FOUND"):
        await reads_account_data(alice, "m.push_rules", room)


def tells_nothing(answer):
    """Whether a sync has nothing but its token and what the device always gets."""
    return all(name == "next_batch" or "device_" in name for name in answer)


async def test_sync_tells_everything_at_first_and_then_what_is_new(alice):
    room = await alice.creates_room()
    await sets_account_data(alice, "a", {"n": 1})
    await sets_account_data(alice, "b", {"n": 1}, room)
    first = await alice.syncs()
    assert global_account_data(first).keys() == {"a", "m.push_rules"}
    assert room_account_data(first, room) == {"b": {"n": 1}}

    await sets_account_data(alice, "c", {"n": 1})
    second = await alice.syncs(first["next_batch"])
    assert global_account_data(second) == {"c": {"n": 1}}
    assert "rooms" not in second

    await sets_account_data(alice, "b", {"n": 2}, room)
    third = await alice.syncs(second["next_batch"])
    assert "account_data" not in third
    assert room_account_data(third, room) == {"b": {"n": 2}}
    assert third["rooms"]["join"][room]["timeline"]["events"] == []

    last = await alice.syncs(third["next_batch"])
    assert tells_nothing(last)
    assert room_account_data(await alice.syncs(), room) == {"b": {"n": 2}}


async def test_of_several_changes_the_last_is_told(alice):
    since = (await alice.syncs())["next_batch"]
    for number in range(3):
        await sets_account_data(alice, TYPE, {"n": number})
    assert global_account_data(await alice.syncs(since)) == {TYPE: {"n": 2}}


async def test_the_same_content_again_is_told_again(alice):
    await sets_account_data(alice, TYPE, {"n": 1})
    since = (await alice.syncs())["next_batch"]
    await sets_account_data(alice, TYPE, {"n": 1})
    assert global_account_data(await alice.syncs(since)) == {TYPE: {"n": 1}}


@pytest.mark.parametrize("in_room", [False, True])
async def test_a_waiting_sync_answers_when_account_data_changes(server, alice, in_room):
    room = await alice.creates_room() if in_room else None
    since = (await alice.syncs())["next_batch"]
    syncing = asyncio.ensure_future(alice.syncs(since, timeout=30_000))
    while not server.base.notifier.waiting():  # noqa: ASYNC110 - nothing tells it
        await asyncio.sleep(0)
    await sets_account_data(alice, TYPE, {"n": 1}, room)
    answer = await syncing
    told = room_account_data(answer, room) if room else global_account_data(answer)
    assert told == {TYPE: {"n": 1}}


async def test_a_waiting_sync_of_another_user_goes_on_waiting(alice, bob):
    since = (await bob.syncs())["next_batch"]
    await sets_account_data(alice, TYPE, {"n": 1})
    answer = await bob.syncs(since)
    assert tells_nothing(answer)


@pytest.mark.parametrize("by_empty_content", [False, True])
async def test_deleted_account_data_is_told_as_empty_and_then_gone(alice, by_empty_content):
    room = await alice.creates_room()
    for place in (None, room):
        await sets_account_data(alice, TYPE, {"n": 1}, place)
    since = (await alice.syncs())["next_batch"]
    for place in (None, room):
        if by_empty_content:
            await sets_account_data(alice, TYPE, {}, place)
        else:
            await deletes_account_data(alice, TYPE, place)
        with refused(404, "M_NOT_FOUND"):
            await reads_account_data(alice, TYPE, place)
    news = await alice.syncs(since)
    assert global_account_data(news) == {TYPE: {}}
    assert room_account_data(news, room) == {TYPE: {}}
    fresh = await alice.syncs()
    assert global_account_data(fresh).keys() == {"m.push_rules"}
    assert room_account_data(fresh, room) == {}


async def test_to_delete_what_is_not_there_changes_nothing(alice):
    since = (await alice.syncs())["next_batch"]
    await deletes_account_data(alice, TYPE)
    assert (await alice.syncs(since))["next_batch"] == since


async def test_deleted_account_data_can_be_set_again(alice):
    await sets_account_data(alice, TYPE, {"n": 1})
    await deletes_account_data(alice, TYPE)
    await sets_account_data(alice, TYPE, {"n": 2})
    assert await reads_account_data(alice, TYPE) == {"n": 2}
    assert global_account_data(await alice.syncs())[TYPE] == {"n": 2}


async def test_who_comes_back_to_a_room_is_told_what_was_deleted_meanwhile(alice, bob):
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    await sets_account_data(bob, "kept", {"n": 1}, room)
    await sets_account_data(bob, "dropped", {"n": 1}, room)
    since = (await bob.syncs())["next_batch"]
    await bob.leaves(room)
    since = (await bob.syncs(since))["next_batch"]
    await deletes_account_data(bob, "dropped", room)
    await bob.joins(room)
    assert room_account_data(await bob.syncs(since), room) == {"kept": {"n": 1}, "dropped": {}}


async def test_a_room_that_was_left_still_has_its_account_data(alice, bob):
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    await sets_account_data(bob, TYPE, {"n": 1}, room)
    since = (await bob.syncs())["next_batch"]
    await bob.leaves(room)
    assert room_account_data(await bob.syncs(since), room, "leave") == {TYPE: {"n": 1}}
    archive = await bob.syncs(filter={"room": {"include_leave": True}})
    assert room_account_data(archive, room, "leave") == {TYPE: {"n": 1}}


@pytest.mark.parametrize(
    ("chosen", "expected_global", "expected_in_room"),
    [
        ({"account_data": {"types": ["a"]}}, {"a"}, {"a", "b"}),
        ({"account_data": {"not_types": ["m.*"]}}, {"a", "b"}, {"a", "b"}),
        ({"account_data": {"types": []}}, set(), {"a", "b"}),
        ({"account_data": {"limit": 0}}, {"a", "b", "m.push_rules"}, {"a", "b"}),
        ({"room": {"account_data": {"types": ["b"]}}}, {"a", "b", "m.push_rules"}, {"b"}),
        ({"room": {"account_data": {"types": []}}}, {"a", "b", "m.push_rules"}, set()),
        ({"room": {"account_data": {"not_rooms": ["!x"]}}}, {"a", "b", "m.push_rules"}, set()),
        (
            {"account_data": {"types": ["m.push_rules"]}, "room": {"account_data": {"types": []}}},
            {"m.push_rules"},
            set(),
        ),
    ],
)
async def test_filters_choose_account_data(alice, chosen, expected_global, expected_in_room):
    room = await alice.creates_room()
    since = (await alice.syncs())["next_batch"]
    for event_type in ("a", "b"):
        await sets_account_data(alice, event_type, {"n": 1})
        await sets_account_data(alice, event_type, {"n": 1}, room)
    chosen = json.loads(json.dumps(chosen).replace('"!x"', json.dumps(room)))
    first = await alice.syncs(filter=chosen)
    assert global_account_data(first).keys() == expected_global
    assert room_account_data(first, room).keys() == expected_in_room
    news = await alice.syncs(since, filter=chosen)
    # The push rules have not changed.
    assert global_account_data(news).keys() == expected_global - {"m.push_rules"}
    assert room_account_data(news, room).keys() == expected_in_room


async def test_a_room_that_the_filter_leaves_out_has_no_account_data(alice):
    room = await alice.creates_room()
    since = (await alice.syncs())["next_batch"]
    await sets_account_data(alice, TYPE, {"n": 1}, room)
    answer = await alice.syncs(since, filter={"room": {"not_rooms": [room]}})
    assert "rooms" not in answer


@pytest.mark.parametrize("event_type", ["a" * 255, "ü" * 127, "with/slash", "with space", "."])
async def test_any_type_of_up_to_255_bytes_will_do(alice, event_type):
    await sets_account_data(alice, event_type, {"n": 1})
    assert await reads_account_data(alice, event_type) == {"n": 1}


@pytest.mark.parametrize("event_type", ["", "a" * 256, "ü" * 128, "\0"])
async def test_types_that_are_empty_or_too_long_are_refused(alice, event_type):
    with refused(400, "M_INVALID_PARAM"):
        await sets_account_data(alice, event_type, {"n": 1})


@pytest.mark.parametrize(
    ("raw", "errcode"),
    [
        (b"", "M_NOT_JSON"),
        (b"{", "M_NOT_JSON"),
        (b"\xff", "M_NOT_JSON"),
        (b'{"a":"\\ud800"}', "M_NOT_JSON"),
        (b'{"a":' * 2000 + b"1" + b"}" * 2000, "M_NOT_JSON"),
        (b"[]", "M_BAD_JSON"),
        (b'"text"', "M_BAD_JSON"),
        (b"null", "M_BAD_JSON"),
    ],
)
async def test_only_a_json_object_is_a_content(alice, raw, errcode):
    room = await alice.creates_room()
    with refused(400, errcode):
        await alice.request("PUT", f"user/{quoted(alice.user_id)}/account_data/a", raw=raw)
    with refused(400, errcode):
        path = f"user/{quoted(alice.user_id)}/rooms/{quoted(room)}/account_data/a"
        await alice.request("PUT", path, raw=raw)


@pytest.mark.parametrize("room", ["@alice:hs.example", "room", "!", "#a:hs.example"])
async def test_what_is_no_room_id_is_refused(alice, room):
    with refused(400, "M_INVALID_PARAM"):
        await sets_account_data(alice, TYPE, {}, room)
    with refused(400, "M_INVALID_PARAM"):
        await reads_account_data(alice, TYPE, room)


@pytest.fixture
def limits(monkeypatch):
    """Sets limits of the service; they count bytes of `{"a":"…"}` and the like."""

    def lower(**values):
        for name, value in values.items():
            monkeypatch.setattr(f"homeserver.services.account_data.{name}", value)

    return lower


def content_of(size):
    return {"a": "x" * (size - len('{"a":""}'))}


async def test_a_content_has_a_largest_size(alice, limits):
    limits(MAX_CONTENT_BYTES=100)
    await sets_account_data(alice, TYPE, content_of(100))
    with refused(413, "M_TOO_LARGE"):
        await sets_account_data(alice, TYPE, content_of(101))
    assert await reads_account_data(alice, TYPE) == content_of(100)


async def test_all_of_a_users_account_data_has_a_largest_size(alice, bob, limits):
    limits(MAX_TOTAL_BYTES=200)
    room = await alice.creates_room()
    await sets_account_data(alice, "a", content_of(100))
    await sets_account_data(alice, "b", content_of(100), room)
    with refused(413, "M_TOO_LARGE"):
        await sets_account_data(alice, "c", content_of(10))
    with refused(413, "M_TOO_LARGE"):
        await sets_account_data(alice, "a", content_of(101))
    await sets_account_data(bob, "c", content_of(10))
    await sets_account_data(alice, "a", content_of(90))
    await sets_account_data(alice, "c", content_of(10))


async def test_a_user_has_a_largest_number_of_entries(alice, limits):
    limits(MAX_ENTRIES=2)
    room = await alice.creates_room()
    await sets_account_data(alice, "a", {"n": 1})
    await sets_account_data(alice, "a", {"n": 1}, room)
    with refused(413, "M_TOO_LARGE"):
        await sets_account_data(alice, "b", {"n": 1})
    await sets_account_data(alice, "a", {"n": "longer"})
    await deletes_account_data(alice, "a")
    with refused(413, "M_TOO_LARGE"):
        await sets_account_data(alice, "b", {})


async def test_guests_have_no_account_data(guest):
    with refused(403, "M_GUEST_ACCESS_FORBIDDEN"):
        await sets_account_data(guest, TYPE, {"n": 1})


async def test_account_data_needs_an_access_token(clients, alice):
    nobody = clients.nobody()
    nobody.user_id = alice.user_id
    with refused(401, "M_MISSING_TOKEN"):
        await sets_account_data(nobody, TYPE, {"n": 1})
