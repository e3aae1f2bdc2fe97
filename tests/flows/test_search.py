"""What is found, and by whom. Spec: client-server-api/#server-side-search"""

import pytest

from tests.support.client import quoted
from tests.support.search import finds, indexed, search, texts


@pytest.fixture
async def room(alice, bob):
    room_id = await alice.creates_room(preset="public_chat")
    await bob.joins(room_id)
    return room_id


async def test_a_result_is_the_event_as_its_reader_gets_it(alice, bob, room):
    event_id = await bob.sends(room, "Martians and men")
    await indexed(alice, room)
    found = await search(alice, "martians men")
    [result] = found["results"]
    event = await alice.reads_event(room, event_id)
    for one in (event, result["result"]):
        one["unsigned"].pop("age")
    assert result["result"] == event
    assert result["rank"] > 0
    assert "context" not in result
    assert found["count"] == 1
    assert found["highlights"] == ["martians", "men"]
    assert not {"next_batch", "groups", "state"} & set(found)
    [own] = (await search(bob, "martians"))["results"]
    assert own["result"]["unsigned"]["transaction_id"]


async def test_all_words_must_be_there_and_quoted_ones_in_a_row(alice, room):
    for body in ("green men from mars", "mars from green to red", "green"):
        await alice.sends(room, body)
    await indexed(alice, room)
    assert len(await finds(alice, "green")) == 3
    assert len(await finds(alice, "mars green from")) == 2
    assert await finds(alice, '"green men" mars') == ["green men from mars"]
    assert await finds(alice, '"men green"') == []
    assert await finds(alice, "green blue") == []
    assert await finds(alice, "!?") == []


async def test_the_last_word_may_be_the_beginning_of_one(alice, room):
    for body in ("testing things", "test", "te", "attest"):
        await alice.sends(room, body)
    await indexed(alice, room)
    assert await finds(alice, "test") == ["test", "testing things"]
    assert await finds(alice, "te") == ["te"]
    assert await finds(alice, "things test") == ["testing things"]
    assert await finds(alice, "thing test") == []
    assert await finds(alice, '"test"') == ["test"]


async def test_results_come_by_rank_or_by_time(alice, room):
    bodies = [
        "apple",
        "an apple among very many other fruits in a basket that is full of them",
        "apple apple",
    ]
    for body in bodies:
        await alice.sends(room, body)
    await indexed(alice, room)
    assert await finds(alice, "apple", order_by="recent") == bodies[::-1]
    found = await search(alice, "apple")
    assert texts(found)[-1] == bodies[1]
    ranks = [result["rank"] for result in found["results"]]
    assert ranks == sorted(ranks, reverse=True)


async def test_names_and_topics_are_found_by_their_keys(alice, room):
    await alice.sets(room, "m.room.name", {"name": "Secret garden"})
    await alice.sets(room, "m.room.topic", {"topic": "Garden tools"})
    await alice.sets(
        room,
        "m.room.topic",
        {
            "topic": "Spades",
            "m.topic": {
                "m.text": [
                    {"mimetype": "text/html", "body": "<b>hoes</b>"},
                    {"body": "Spades for the garden"},
                ]
            },
        },
    )
    await alice.sends(room, "my garden")
    await alice.sets(room, "m.room.name", {"name": "Garden of another key"}, "key")
    await indexed(alice, room)
    expected = {"Secret garden", "Garden tools", "Spades", "my garden"}
    assert set(await finds(alice, "garden")) == expected
    assert await finds(alice, "hoes") == []
    for key, some in (
        ("content.name", {"Secret garden"}),
        ("content.topic", {"Garden tools", "Spades"}),
        ("content.body", {"my garden"}),
    ):
        assert set(await finds(alice, "garden", keys=[key])) == some
    assert set(await finds(alice, "garden", keys=[])) == expected


async def test_an_edited_message_is_found_by_what_it_says_now(alice, bob, room):
    event_id = await alice.sends(room, "colour")
    relation = {"rel_type": "m.replace", "event_id": event_id}

    def edit(body):
        new = {"msgtype": "m.text", "body": body}
        return {**new, "body": f"* {body}", "m.new_content": new, "m.relates_to": relation}

    await alice.sends(room, edit("flavour"))
    last_id = await alice.sends(room, edit("neighbour"))
    await bob.sends(room, edit("vandal"))
    await indexed(alice, room)
    assert await finds(alice, "flavour") == await finds(alice, "colour") == []
    assert await finds(alice, "vandal") == []
    [found] = (await search(alice, "neighbour"))["results"]
    assert found["result"]["event_id"] == event_id
    assert found["result"]["unsigned"]["m.relations"]["m.replace"]["event_id"] == last_id
    await alice.redacts(room, last_id)
    await indexed(alice, room)
    assert await finds(alice, "neighbour") == []
    assert await finds(alice, "flavour") == ["colour"]


async def test_a_redacted_event_is_not_found(alice, room):
    event_id = await alice.sends(room, "regrettable")
    await indexed(alice, room)
    assert await finds(alice, "regrettable") == ["regrettable"]
    await alice.redacts(room, event_id)
    # At once, wherever the index is.
    assert await finds(alice, "regrettable") == []
    await indexed(alice, room)
    assert (await search(alice, "regrettable"))["count"] == 0


async def test_encrypted_rooms_are_left_out(alice, bob, room):
    other = await alice.creates_room()
    for each in (room, other):
        await alice.sends(each, "plain words")
    await indexed(alice, other)
    assert len(await finds(alice, "plain")) == 2
    await alice.sets(other, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    assert len(await finds(alice, "plain")) == 1


# Visibility


async def test_only_rooms_that_the_user_has_been_in_are_searched(alice, bob, carol, room):
    await alice.sends(room, "hidden treasure")
    await alice.sets(room, "m.room.history_visibility", {"history_visibility": "world_readable"})
    await alice.invites(room, carol)
    await indexed(alice, room)
    assert await finds(bob, "treasure") == ["hidden treasure"]
    assert await finds(carol, "treasure") == []
    assert await finds(carol, "treasure", filter={"rooms": [room]}) == []
    await carol.joins(room)
    assert await finds(carol, "treasure") == ["hidden treasure"]


@pytest.mark.parametrize(
    ("visibility", "expected"),
    [
        ("shared", ["first treasure", "second treasure"]),
        ("world_readable", ["first treasure", "second treasure"]),
        ("invited", ["second treasure"]),
        ("joined", []),
    ],
)
async def test_history_is_searched_as_far_as_it_is_visible(alice, carol, visibility, expected):
    room = await alice.creates_room(preset="private_chat")
    await alice.sets(room, "m.room.history_visibility", {"history_visibility": visibility})
    await alice.sends(room, "first treasure")
    await alice.invites(room, carol)
    await alice.sends(room, "second treasure")
    await carol.joins(room)
    await indexed(alice, room)
    found = await search(carol, "treasure", order_by="recent")
    assert texts(found) == expected[::-1]
    assert found["count"] == len(expected)


async def test_of_rooms_left_only_what_came_before_is_found(alice, bob, room):
    await alice.sends(room, "treasure before")
    await bob.leaves(room)
    await alice.sends(room, "treasure after")
    await indexed(alice, room)
    assert await finds(bob, "treasure") == ["treasure before"]
    await bob.forgets(room)
    assert await finds(bob, "treasure") == []


async def test_an_edit_that_came_after_the_reader_left_is_not_told(alice, bob, room):
    event_id = await alice.sends(room, "harmless")
    await bob.leaves(room)
    new = {"msgtype": "m.text", "body": "password"}
    relation = {"rel_type": "m.replace", "event_id": event_id}
    await alice.sends(room, {**new, "m.new_content": new, "m.relates_to": relation})
    await indexed(alice, room)
    assert await finds(alice, "password") == ["harmless"]
    assert (await search(bob, "password"))["count"] == 0


async def test_messages_of_ignored_users_are_not_found(alice, bob, room):
    await bob.sends(room, "annoying treasure")
    await alice.sends(room, "good treasure")
    await indexed(alice, room)
    path = f"user/{quoted(alice.user_id)}/account_data/m.ignored_user_list"
    await alice.put(path, {"ignored_users": {bob.user_id: {}}})
    found = await search(alice, "treasure", event_context={})
    assert texts(found) == ["good treasure"]
    assert found["count"] == 1
    before = found["results"][0]["context"]["events_before"]
    assert all(event["content"].get("body") != "annoying treasure" for event in before)


# Filters


async def test_the_filter_chooses_rooms_senders_types_and_urls(alice, bob, room):
    other = await alice.creates_room()
    await alice.sends(other, "treasure of the other room")
    await alice.sends(room, "treasure of alice")
    await bob.sends(room, "treasure of bob")
    await bob.sends(room, {"msgtype": "m.image", "body": "treasure.png", "url": "mxc://a/b"})
    await alice.sets(room, "m.room.name", {"name": "treasure island"})
    await indexed(alice, other)
    everything = {
        "treasure of the other room",
        "treasure of alice",
        "treasure of bob",
        "treasure.png",
        "treasure island",
    }
    for chosen, expected in (
        ({}, everything),
        ({"rooms": [other]}, {"treasure of the other room"}),
        ({"rooms": []}, set()),
        ({"not_rooms": [other]}, everything - {"treasure of the other room"}),
        ({"senders": [bob.user_id]}, {"treasure of bob", "treasure.png"}),
        ({"senders": []}, set()),
        ({"not_senders": [bob.user_id]}, everything - {"treasure of bob", "treasure.png"}),
        ({"types": ["m.room.name"]}, {"treasure island"}),
        ({"not_types": ["m.room.m*"]}, {"treasure island"}),
        ({"types": ["m.sticker"]}, set()),
        ({"contains_url": True}, {"treasure.png"}),
        ({"contains_url": False}, everything - {"treasure.png"}),
    ):
        assert set(await finds(alice, "treasure", filter=chosen)) == expected, chosen


async def test_the_filter_chooses_by_relations(alice, bob, room):
    await alice.sends(room, "treasure one")
    event_id = await alice.sends(room, "treasure two")
    relation = {"rel_type": "m.annotation", "event_id": event_id, "key": "+"}
    await bob.sends(room, {"m.relates_to": relation}, "m.reaction")
    await indexed(alice, room)
    for chosen in (
        {"related_by_rel_types": ["m.annotation"]},
        {"related_by_senders": [bob.user_id]},
    ):
        assert await finds(alice, "treasure", filter=chosen) == ["treasure two"]
    assert await finds(alice, "treasure", filter={"related_by_rel_types": ["m.thread"]}) == []
