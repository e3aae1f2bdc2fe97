"""Push rules and unread counts. Spec: client-server-api/#receiving-notifications"""

import pytest

from tests.support.account_data import global_account_data, ignores
from tests.support.client import quoted

NOTHING = {"notification_count": 0, "highlight_count": 0}
LOUD = ["notify", {"set_tweak": "highlight"}]


@pytest.fixture
async def room(alice, bob, carol):
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    await carol.joins(room)
    return room


async def puts_rule(client, kind, rule_id, actions, **body):
    path = f"pushrules/global/{kind}/{quoted(rule_id)}"
    await client.put(path, {"actions": actions, **body})


async def deletes_rule(client, kind, rule_id):
    await client.delete(f"pushrules/global/{kind}/{quoted(rule_id)}")


async def mutes(client, room):
    """As clients do who mute a room altogether: an override on its ID."""
    condition = {"kind": "event_match", "key": "room_id", "pattern": room}
    await puts_rule(client, "override", room, [], conditions=[condition])


async def sets_master(client, *, is_enabled):
    path = "pushrules/global/override/.m.rule.master/enabled"
    await client.put(path, {"enabled": is_enabled})


def unread(answer, room):
    return answer["rooms"]["join"][room]["unread_notifications"]


async def unread_of(client, room):
    return unread(await client.syncs(), room)


async def rows_of(server):
    """How many outcomes of single users are written down."""
    async with server.base.database.connection() as connection:
        return await connection.fetchval("SELECT count(*) FROM user_notifications")


async def mentions(client, room, *others):
    mentioned = {"user_ids": [other.user_id for other in others]}
    await client.sends(room, {"msgtype": "m.text", "body": "you", "m.mentions": mentioned})


async def test_a_muted_room_counts_nothing_and_costs_no_rows(server, alice, bob, carol, room):
    await mutes(bob, room)
    for text in ("one", "two", "three"):
        await alice.sends(room, text)
    await mentions(alice, room, bob)
    assert await unread_of(bob, room) == NOTHING
    assert await unread_of(carol, room) == {"notification_count": 4, "highlight_count": 0}
    assert await rows_of(server) == 0


async def test_a_room_that_tells_of_mentions_only_costs_a_row_for_each(server, alice, bob, room):
    await puts_rule(bob, "room", room, [])
    for text in ("one", "two", "three"):
        await alice.sends(room, text)
    assert await unread_of(bob, room) == NOTHING
    assert await rows_of(server) == 0
    await mentions(alice, room, bob)
    assert await unread_of(bob, room) == {"notification_count": 1, "highlight_count": 1}
    assert await rows_of(server) == 1


async def test_muted_rooms_of_others_do_not_matter(server, alice, bob, carol, room):
    await mutes(carol, room)
    await mutes(bob, "!elsewhere:hs.example")
    await alice.sends(room, "hello")
    assert await unread_of(bob, room) == {"notification_count": 1, "highlight_count": 0}
    assert await rows_of(server) == 0


async def test_the_master_rule_silences_every_room(alice, bob, room):
    other = await alice.creates_room(preset="public_chat")
    await bob.joins(other)
    await sets_master(bob, is_enabled=True)
    for each in (room, other):
        await mentions(alice, each, bob)
        assert await unread_of(bob, each) == NOTHING


async def test_keywords_highlight(alice, bob, room):
    await puts_rule(bob, "content", "cake", LOUD, pattern="cake")
    await alice.sends(room, "hello")
    await alice.sends(room, "Cake, anyone?")
    assert await unread_of(bob, room) == {"notification_count": 2, "highlight_count": 1}


async def test_the_display_name_of_the_room_counts(alice, bob, room):
    rule = [{"kind": "contains_display_name"}]
    await puts_rule(bob, "override", "name", LOUD, conditions=rule)
    await bob.sets(
        room, "m.room.member", {"membership": "join", "displayname": "Bobby"}, bob.user_id
    )
    await alice.sends(room, "hello bob")
    await alice.sends(room, "hello Bobby!")
    assert await unread_of(bob, room) == {"notification_count": 2, "highlight_count": 1}


async def test_messages_of_a_silenced_sender_do_not_count(alice, bob, carol, room):
    await puts_rule(bob, "sender", carol.user_id, [])
    await carol.sends(room, "hello")
    assert await unread_of(bob, room) == NOTHING
    await alice.sends(room, "hello")
    assert await unread_of(bob, room) == {"notification_count": 1, "highlight_count": 0}


async def test_what_is_muted_does_not_count_any_more_and_comes_back(alice, bob, room):
    await alice.sends(room, "hello")
    await mentions(alice, room, bob)
    first = await bob.syncs()
    assert unread(first, room) == {"notification_count": 2, "highlight_count": 1}

    await puts_rule(bob, "room", room, [])
    second = await bob.syncs(first["next_batch"])
    assert unread(second, room) == {"notification_count": 1, "highlight_count": 1}
    assert second["rooms"]["join"][room]["timeline"]["events"] == []

    await alice.sends(room, "are you there?")
    third = await bob.syncs(second["next_batch"])
    assert unread(third, room) == {"notification_count": 1, "highlight_count": 1}

    await deletes_rule(bob, "room", room)
    fourth = await bob.syncs(third["next_batch"])
    assert unread(fourth, room) == {"notification_count": 3, "highlight_count": 1}
    assert unread(fourth, room) == await unread_of(bob, room)


async def test_changed_rules_tell_of_no_room_where_everything_is_read(bob, room):
    since = (await bob.syncs())["next_batch"]
    await mutes(bob, room)
    answer = await bob.syncs(since)
    assert global_account_data(answer).keys() == {"m.push_rules"}
    assert "rooms" not in answer


async def test_who_sends_has_read_a_muted_room(alice, bob, room):
    await puts_rule(bob, "room", room, [])
    await mentions(alice, room, bob)
    await bob.sends(room, "yes?")
    assert await unread_of(bob, room) == NOTHING
    await deletes_rule(bob, "room", room)
    assert await unread_of(bob, room) == NOTHING


async def test_a_redacted_mention_does_not_count_in_a_muted_room(alice, bob, room):
    await puts_rule(bob, "room", room, [])
    mentioned = {"user_ids": [bob.user_id]}
    event = await alice.sends(room, {"body": "you", "m.mentions": mentioned})
    since = (await bob.syncs())["next_batch"]
    await alice.redacts(room, event)
    assert unread(await bob.syncs(since), room) == NOTHING


async def test_what_is_redacted_in_a_muted_room_does_not_come_back(alice, bob, room):
    event = await alice.sends(room, "hello")
    assert await unread_of(bob, room) == {"notification_count": 1, "highlight_count": 0}
    await puts_rule(bob, "room", room, [])
    await alice.redacts(room, event)
    assert await unread_of(bob, room) == NOTHING
    await deletes_rule(bob, "room", room)
    assert await unread_of(bob, room) == NOTHING


async def test_own_messages_cost_no_rows(server, bob, room):
    await puts_rule(bob, "room", room, [])
    await puts_rule(bob, "content", "cake", LOUD, pattern="cake")
    await bob.sends(room, "I like cake")
    assert await rows_of(server) == 0


async def test_to_mention_somebody_elsewhere_costs_no_row(server, alice, clients, room):
    await mentions(alice, room, await clients.user("dave"))
    assert await rows_of(server) == 0


async def test_users_of_other_servers_leave_room_for_mentions_of_those_here(alice, bob, room):
    distant = [f"@a{number}:elsewhere.example" for number in range(200)]
    mentioned = {"user_ids": [*distant, bob.user_id]}
    content = {"msgtype": "m.text", "body": "all", "m.mentions": mentioned}
    await alice.sends(room, content)
    assert (await unread_of(bob, room))["highlight_count"] == 1


async def test_who_joins_later_has_the_own_rules_at_once(server, alice, bob, carol, clients):
    dave = await clients.user("dave")
    room = await alice.creates_room(preset="public_chat")
    await mutes(dave, room)
    await alice.sends(room, "nobody is here")
    await dave.joins(room)
    await alice.sends(room, "hello")
    assert await unread_of(dave, room) == NOTHING
    await dave.leaves(room)
    await alice.sends(room, "gone")
    assert await rows_of(server) == 0


async def test_threads_of_a_muted_room_count_what_is_written_down(alice, bob, room):
    root = await alice.sends(room, "root")
    await puts_rule(bob, "room", room, [])
    thread = {"rel_type": "m.thread", "event_id": root}
    await alice.sends(room, {"body": "in the thread", "m.relates_to": thread})
    mentioned = {"user_ids": [bob.user_id]}
    await alice.sends(room, {"body": "you", "m.relates_to": thread, "m.mentions": mentioned})
    answer = await bob.syncs(filter={"room": {"timeline": {"unread_thread_notifications": True}}})
    told = answer["rooms"]["join"][room]
    assert told["unread_notifications"] == NOTHING
    assert told["unread_thread_notifications"] == {
        root: {"notification_count": 1, "highlight_count": 1}
    }


async def test_messages_of_ignored_users_do_not_count(alice, bob, carol, room):
    await ignores(bob, carol)
    await mentions(carol, room, bob)
    assert await unread_of(bob, room) == NOTHING
    await alice.sends(room, "hello")
    assert await unread_of(bob, room) == {"notification_count": 1, "highlight_count": 0}


async def test_an_invite_counts_by_the_rules_of_the_invited(server, alice, bob):
    room = await alice.creates_room()
    await alice.invites(room, bob)
    assert await rows_of(server) == 1
    await sets_master(bob, is_enabled=True)
    other = await alice.creates_room()
    await alice.invites(other, bob)
    await sets_master(bob, is_enabled=False)
    await ignores(bob, alice)
    third = await alice.creates_room()
    await alice.invites(third, bob)
    assert await rows_of(server) == 1
