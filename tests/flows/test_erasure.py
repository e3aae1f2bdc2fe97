"""Deactivation with erasure. Spec: client-server-api/#post_matrixclientv3accountdeactivate"""

import asyncio

import pytest

from tests.support.client import clients_of, quoted
from tests.support.server import server_of


async def deactivates(client, **body):
    name = client.user_id[1:].partition(":")[0]
    auth = {"type": "m.login.password", "user": name, "password": "wordpass-1"}
    await client.post("account/deactivate", {"auth": auth, **body})


@pytest.fixture
async def room(alice, bob):
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    return room


async def bodies(client, room):
    """Return what is readable of the messages, by event ID, in /messages."""
    chunk = (await client.reads_messages(room, limit=100))["chunk"]
    return {
        each["event_id"]: each["content"].get("body")
        for each in chunk
        if each["type"] == "m.room.message"
    }


async def test_who_joins_later_reads_redacted_copies_and_who_was_there_the_words(
    alice, bob, carol, room
):
    said = await bob.sends(room, "secret words")
    kept = await alice.sends(room, "other words")
    await deactivates(bob, erase=True)
    since = (await carol.syncs())["next_batch"]
    await carol.joins(room)
    assert await bodies(alice, room) == {said: "secret words", kept: "other words"}
    assert await bodies(carol, room) == {said: None, kept: "other words"}
    assert (await carol.reads_event(room, said))["content"] == {}
    assert (await carol.reads_context(room, said))["event"]["content"] == {}
    assert (await alice.reads_event(room, said))["content"]["body"] == "secret words"
    for token in (since, None):
        joined = (await carol.syncs(token, filter={"room": {"timeline": {"limit": 100}}}))["rooms"]
        events = joined["join"][room]["timeline"]["events"]
        assert "secret words" not in str(events)
        assert "other words" in str(events)


async def test_who_left_before_and_came_back_after_sees_what_was_said_while_there(
    alice, bob, carol, room
):
    await carol.joins(room)
    first = await bob.sends(room, "first")
    await carol.leaves(room)
    second = await bob.sends(room, "second")
    await deactivates(bob, erase=True)
    await carol.joins(room)
    assert await bodies(carol, room) == {first: "first", second: None}
    assert await bodies(alice, room) == {first: "first", second: "second"}


async def test_replies_and_thread_roots_are_redacted_too(alice, bob, carol, room):
    root = await bob.sends(room, "the root")
    thread = {"rel_type": "m.thread", "event_id": root}
    await bob.sends(room, {"msgtype": "m.text", "body": "a reply", "m.relates_to": thread})
    await deactivates(bob, erase=True)
    await carol.joins(room)
    for path in (f"rooms/{quoted(room)}/threads", f"rooms/{quoted(room)}/relations/{quoted(root)}"):
        root_path = path.replace("/v3/", "/v1/")
        chunk = (await carol.get(f"/_matrix/client/v1/{root_path}"))["chunk"]
        assert [each["content"].get("body") for each in chunk] == [None]


async def test_without_erasure_all_stays_readable(bob, carol, room):
    said = await bob.sends(room, "hello")
    await deactivates(bob)
    await carol.joins(room)
    assert await bodies(carol, room) == {said: "hello"}


async def test_all_nodes_and_later_runs_know_of_an_erasure(
    alice, bob, room, database_dsn, tmp_path
):
    said = await bob.sends(room, "hello")
    async with server_of(database_dsn, tmp_path) as other, clients_of(other.url) as there:
        dave = await there.user("dave")
        # That node has read the list of the erased before.
        await dave.joins(await alice.creates_room(preset="public_chat"))
        await deactivates(bob, erase=True)
        await dave.joins(room)
        assert await bodies(dave, room) == {said: None}
    async with server_of(database_dsn, tmp_path) as again, clients_of(again.url) as there:
        erin = await there.user("erin")
        await erin.joins(room)
        assert await bodies(erin, room) == {said: None}


async def test_what_was_kept_for_the_user_is_gone(alice, bob, server, room):
    await bob.put(f"user/{bob.user_id}/account_data/a.type", {"x": 1})
    await bob.put(f"user/{bob.user_id}/rooms/{quoted(room)}/tags/u.work", {})
    await bob.put("pushrules/global/content/word", {"pattern": "word", "actions": []})
    await bob.post(f"user/{bob.user_id}/filter", {"room": {"timeline": {"limit": 1}}})
    await bob.post(f"user/{bob.user_id}/openid/request_token")
    await deactivates(bob, erase=True)
    tables = ("account_data", "push_rules", "filters", "openid_tokens", "profile_fields", "devices")
    async with server.base.database.connection() as connection:
        for table in tables:
            rows = await connection.fetch(
                f"SELECT FROM {table} WHERE user_id = $1",
                bob.user_id,
            )
            assert not rows, table


async def test_invites_are_rejected_and_knocks_withdrawn(alice, bob, carol, clients):
    invited = await alice.creates_room(invite=[bob.user_id])
    knocked = await alice.creates_room(
        initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]
    )
    await bob.knocks(knocked)
    await deactivates(bob, erase=True)
    async with asyncio.timeout(60):
        for room in (invited, knocked):
            while (await alice.reads_members(room))[bob.user_id] != "leave":
                pass


async def test_bundles_and_searches_do_not_tell_who_comes_later(alice, bob, carol, room):
    root = await alice.sends(room, "the root")
    thread = {"rel_type": "m.thread", "event_id": root}
    reply = {"msgtype": "m.text", "body": "secret reply", "m.relates_to": thread}
    await bob.sends(room, reply)
    await deactivates(bob, erase=True)
    await carol.joins(room)
    assert "secret" in str(await alice.reads_event(room, root))
    assert "secret" not in str(await carol.reads_event(room, root))
    for reader, expected in ((alice, 1), (carol, 0)):
        wanted = {"search_categories": {"room_events": {"search_term": "secret"}}}
        while True:
            answer = await reader.post("search", wanted)
            found = answer["search_categories"]["room_events"]["results"]
            # The index follows the log.
            if reader is carol or found:
                break
        assert len(found) == expected
