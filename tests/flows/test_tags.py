"""Spec: client-server-api/#room-tagging"""

import asyncio

import pytest

from tests.support.account_data import (
    deletes_account_data,
    reads_account_data,
    room_account_data,
    sets_account_data,
)
from tests.support.client import quoted, refused


@pytest.fixture
async def room(alice):
    return await alice.creates_room()


def tags_path(client, room, *tag):
    return f"user/{quoted(client.user_id, 'rooms', room, 'tags', *tag)}"


async def tags(client, room, tag, content):
    assert await client.put(tags_path(client, room, tag), content) == {}


async def untags(client, room, tag):
    assert await client.delete(tags_path(client, room, tag)) == {}


async def tags_of(client, room):
    return (await client.get(tags_path(client, room)))["tags"]


async def test_a_room_has_no_tags_at_first(alice, room):
    assert await tags_of(alice, room) == {}


async def test_tags_come_and_go(alice, room):
    await tags(alice, room, "m.favourite", {"order": 0.25})
    await tags(alice, room, "u.Work", {})
    await tags(alice, room, "u.Wörk/1", {"order": 1, "org.example.color": "red"})
    expected = {
        "m.favourite": {"order": 0.25},
        "u.Work": {},
        "u.Wörk/1": {"order": 1, "org.example.color": "red"},
    }
    assert await tags_of(alice, room) == expected
    await tags(alice, room, "m.favourite", {"order": 0})
    await untags(alice, room, "u.Work")
    del expected["u.Work"]
    expected["m.favourite"] = {"order": 0}
    assert await tags_of(alice, room) == expected
    assert await reads_account_data(alice, "m.tag", room) == {"tags": expected}


async def test_tags_are_told_as_one_event(alice, room):
    since = (await alice.syncs())["next_batch"]
    await tags(alice, room, "u.a", {})
    await tags(alice, room, "u.b", {})
    both = {"m.tag": {"tags": {"u.a": {}, "u.b": {}}}}
    answer = await alice.syncs(since)
    assert room_account_data(answer, room) == both
    assert room_account_data(await alice.syncs(), room) == both

    await untags(alice, room, "u.a")
    await untags(alice, room, "u.b")
    answer = await alice.syncs(answer["next_batch"])
    assert room_account_data(answer, room) == {"m.tag": {"tags": {}}}


async def test_to_remove_a_tag_that_is_not_there_changes_nothing(alice, room):
    since = (await alice.syncs())["next_batch"]
    await untags(alice, room, "u.none")
    assert (await alice.syncs(since))["next_batch"] == since


async def test_tags_that_are_set_at_once_are_all_kept(alice, room):
    names = [f"u.{number}" for number in range(10)]
    await asyncio.gather(*(tags(alice, room, name, {}) for name in names))
    assert (await tags_of(alice, room)).keys() == set(names)


async def test_tags_are_seen_by_who_has_set_them(alice, bob, room):
    await tags(alice, room, "u.a", {})
    await alice.invites(room, bob)
    await bob.joins(room)
    assert await tags_of(bob, room) == {}
    with refused(403, "M_FORBIDDEN"):
        await bob.get(tags_path(alice, room))
    with refused(403, "M_FORBIDDEN"):
        await bob.put(tags_path(alice, room, "u.a"), {})
    with refused(403, "M_FORBIDDEN"):
        await bob.delete(tags_path(alice, room, "u.a"))


async def test_a_room_that_the_user_has_nothing_to_do_with_cannot_be_tagged(bob, room):
    with refused(404, "M_NOT_FOUND"):
        await bob.put(tags_path(bob, room, "u.a"), {})
    with refused(404, "M_NOT_FOUND"):
        await bob.delete(tags_path(bob, room, "u.a"))
    assert await tags_of(bob, room) == {}


@pytest.mark.parametrize("content", [{"tags": 1}, {"tags": []}, {"other": 1}])
async def test_whatever_a_client_has_written_as_m_tag_can_be_tagged_over(alice, room, content):
    await sets_account_data(alice, "m.tag", content, room)
    assert await tags_of(alice, room) == {}
    await untags(alice, room, "u.a")
    await tags(alice, room, "u.a", {})
    assert await reads_account_data(alice, "m.tag", room) == {**content, "tags": {"u.a": {}}}


async def test_a_room_whose_tags_were_deleted_can_be_tagged_again(alice, room):
    await tags(alice, room, "u.a", {})
    await deletes_account_data(alice, "m.tag", room)
    assert await tags_of(alice, room) == {}
    await tags(alice, room, "u.b", {})
    assert await tags_of(alice, room) == {"u.b": {}}


@pytest.mark.parametrize("order", [0, 1, 0.0, 1.0, 0.5, 1e-9])
async def test_an_order_is_a_number_between_0_and_1(alice, room, order):
    await tags(alice, room, "u.a", {"order": order})
    assert await tags_of(alice, room) == {"u.a": {"order": order}}


@pytest.mark.parametrize("order", [-0.1, 1.1, 2, "0.5", None, True, [], {}, 10**400])
async def test_any_other_order_is_refused(alice, room, order):
    with refused(400, "M_INVALID_PARAM"):
        await tags(alice, room, "u.a", {"order": order})


@pytest.mark.parametrize("name", ["", "a" * 256, "ü" * 128, "\0"])
async def test_names_that_are_empty_or_too_long_are_refused(alice, room, name):
    with refused(400, "M_INVALID_PARAM"):
        await tags(alice, room, name, {})


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, " ", "a/b"])
async def test_names_of_up_to_255_bytes_will_do(alice, room, name):
    await tags(alice, room, name, {})
    assert await tags_of(alice, room) == {name: {}}


@pytest.mark.parametrize(
    ("raw", "errcode"), [(b"", "M_NOT_JSON"), (b"{", "M_NOT_JSON"), (b"[]", "M_BAD_JSON")]
)
async def test_a_tag_is_a_json_object(alice, room, raw, errcode):
    with refused(400, errcode):
        await alice.request("PUT", tags_path(alice, room, "u.a"), raw=raw)


async def test_what_is_no_room_id_is_refused(alice):
    with refused(400, "M_INVALID_PARAM"):
        await tags(alice, "room", "u.a", {})
    with refused(400, "M_INVALID_PARAM"):
        await tags_of(alice, "@alice:hs.example")
