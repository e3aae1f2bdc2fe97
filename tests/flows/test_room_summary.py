"""Spec: client-server-api/#get_matrixclientv1room_summaryroomidoralias"""

import pytest

from tests.support.client import Refusal, quoted, refused
from tests.support.server import SERVER_NAME


async def summary(client, room, **query):
    return await client.get(f"/_matrix/client/v1/room_summary/{quoted(room)}", **query)


@pytest.fixture
async def room(alice):
    return await alice.creates_room(
        preset="public_chat", room_alias_name="pub", name="Name", topic="Topic", room_version="11"
    )


async def test_a_public_room_is_summarized_to_everybody(alice, bob, clients, room):
    await alice.sets(room, "m.room.avatar", {"url": "mxc://hs.example/avatar"})
    await alice.sets(room, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    expected = {
        "room_id": room,
        "name": "Name",
        "topic": "Topic",
        "avatar_url": "mxc://hs.example/avatar",
        "canonical_alias": f"#pub:{SERVER_NAME}",
        "num_joined_members": 1,
        "join_rule": "public",
        "world_readable": False,
        "guest_can_join": False,
        "encryption": "m.megolm.v1.aes-sha2",
        "room_version": "11",
    }
    assert await summary(clients.nobody(), room) == expected
    assert await summary(bob, room) == {**expected, "membership": "leave"}
    assert await summary(alice, f"#pub:{SERVER_NAME}") == {**expected, "membership": "join"}


async def test_a_closed_room_is_not_found_by_strangers(alice, bob, clients):
    room = await alice.creates_room()
    for stranger in (bob, clients.nobody()):
        with refused(404, "M_NOT_FOUND"):
            await summary(stranger, room)
    await alice.invites(room, bob)
    assert (await summary(bob, room))["membership"] == "invite"
    with refused(404, "M_NOT_FOUND"):
        await summary(clients.nobody(), room)


@pytest.mark.parametrize(
    ("event_type", "content"),
    [
        ("m.room.join_rules", {"join_rule": "knock"}),
        ("m.room.join_rules", {"join_rule": "knock_restricted", "allow": []}),
        ("m.room.history_visibility", {"history_visibility": "world_readable"}),
    ],
)
async def test_rooms_that_can_be_knocked_on_or_read_are_open(alice, clients, event_type, content):
    room = await alice.creates_room()
    await alice.sets(room, event_type, content)
    assert (await summary(clients.nobody(), room))["room_id"] == room


async def test_a_restricted_room_is_shown_to_those_who_may_join(alice, bob, clients):
    door, room = await bob.creates_room(), await alice.creates_room()
    allow = [{"type": "m.room_membership", "room_id": door}]
    await alice.sets(room, "m.room.join_rules", {"join_rule": "restricted", "allow": allow})
    found = await summary(bob, room)
    assert (found["join_rule"], found["allowed_room_ids"]) == ("restricted", [door])
    with refused(404, "M_NOT_FOUND"):
        await summary(clients.nobody(), room)


async def test_unknown_rooms_are_not_found(alice):
    for name in (f"!unknown:{SERVER_NAME}", f"#unknown:{SERVER_NAME}", "!a:elsewhere.example"):
        with refused(404, "M_NOT_FOUND"):
            await summary(alice, name, via=["elsewhere.example"])
    with pytest.raises(Refusal) as refusal:
        await summary(alice, "nonsense")
    assert refusal.value.status == 400


async def test_state_of_any_shape_does_no_harm(alice, room):
    for event_type, content in {
        "m.room.name": {"name": ["x"]},
        "m.room.topic": {"topic": {}, "m.topic": {"m.text": [1, {"mimetype": "text/html"}]}},
        "m.room.avatar": {"url": "javascript:x"},
        "m.room.guest_access": {"guest_access": []},
        "m.room.encryption": {"algorithm": None},
    }.items():
        await alice.sets(room, event_type, content)
    found = await summary(alice, room)
    assert not {"name", "topic", "avatar_url", "encryption"} & set(found)
    assert found["guest_can_join"] is False


async def test_the_plain_text_of_a_topic_is_shown(alice, room):
    texts = [{"mimetype": "text/html", "body": "<b>bold</b>"}, {"body": "plain"}]
    await alice.sets(room, "m.room.topic", {"topic": "old", "m.topic": {"m.text": texts}})
    assert (await summary(alice, room))["topic"] == "plain"


@pytest.mark.parametrize("path", ["summary/{}", "rooms/{}/summary"])
async def test_the_names_of_the_proposal_answer_too(alice, room, path):
    await alice.sets(room, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    stable = await summary(alice, room)
    unstable = await alice.get(
        f"/_matrix/client/unstable/im.nheko.summary/{path.format(quoted(room))}"
    )
    assert unstable == {
        **stable,
        "im.nheko.summary.encryption": "m.megolm.v1.aes-sha2",
        "im.nheko.summary.room_version": "11",
        "im.nheko.summary.version": "11",
    }
