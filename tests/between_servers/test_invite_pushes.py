"""Notifications of invites into rooms that the server of the invited is not in.

Spec: client-server-api/#mruleinvite_for_me, push-gateway-api/#post_matrixpushv1notify
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import NamedTuple

import pytest

from homeserver.config.sections.push import PushSection
from homeserver.config.sections.third_party_ids import ThirdPartyIdsSection
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.streams.entries import MEMBERSHIP_OUTSIDE, UserEntry
from tests.between_servers.conftest import RunServers
from tests.between_servers.test_revoked_invites import sees
from tests.flows.push.test_email_pushers import DELAY_MS, PUSHER, has_address
from tests.flows.push.test_web_push import subscribes
from tests.support.certificates import Authority
from tests.support.client import Client, ClientMaker, clients_of, quoted
from tests.support.federation import NamedServer
from tests.support.mail import Mailbox, mail_server
from tests.support.push_gateway import OUTGOING, Browser, PushGateway, push_gateway


class Servers(NamedTuple):
    """Alice's and bob's; bob's can push, and mails soon."""

    here: NamedServer
    there: NamedServer
    strangers: ClientMaker
    neighbors: ClientMaker
    alice: Client
    bob: Client
    mailbox: Mailbox


@pytest.fixture
async def gateway(authority: Authority) -> AsyncIterator[PushGateway]:
    async with push_gateway(authority) as running:
        yield running


@pytest.fixture
async def servers(running_servers: RunServers) -> AsyncIterator[Servers]:
    async with AsyncExitStack() as stack:
        mailbox = await stack.enter_async_context(mail_server())
        there, here = await stack.enter_async_context(
            running_servers(
                2,
                email=mailbox.section(),
                push=PushSection(email_delay_ms=DELAY_MS, email_interval_ms=DELAY_MS),
                third_party_ids=ThirdPartyIdsSection(),
                outgoing_http=OUTGOING,
            )
        )
        strangers = await stack.enter_async_context(clients_of(there.url))
        neighbors = await stack.enter_async_context(clients_of(here.url))
        alice, bob = await strangers.user("alice"), await neighbors.user("bob")
        yield Servers(here, there, strangers, neighbors, alice, bob, mailbox)


async def test_an_invite_is_told_in_every_way(servers: Servers, gateway: PushGateway) -> None:
    alice, bob, browser = servers.alice, servers.bob, Browser()
    await has_address(servers.here.running, bob)
    await bob.post("pushers/set", PUSHER)
    await subscribes(bob, browser, gateway)
    await bob.post("pushers/set", gateway.pusher("long"))
    short = {"format": "event_id_only"}
    await bob.post("pushers/set", gateway.pusher("short", data=short))
    room = await alice.creates_room(
        preset="private_chat", name="Cellar", room_alias_name="cellar", topic="not told"
    )
    await alice.invites(room, bob, reason="Come!")
    told = [await gateway.next() for _ in range(2)]
    by_key = {each["devices"][0]["pushkey"]: each for each in told}
    full = by_key["long"]
    devices = full.pop("devices")
    assert devices[0]["tweaks"] == {"sound": "default"}
    head = await servers.there.running.rooms.heads.head(room)
    assert head is not None
    event_id = head.state["m.room.member", bob.user_id].event_id
    content = full.pop("content")
    assert (content["membership"], content["reason"]) == ("invite", "Come!")
    assert full == {
        "event_id": event_id,
        "room_id": room,
        "type": "m.room.member",
        "sender": alice.user_id,
        "sender_display_name": "alice",
        "room_name": "Cellar",
        "room_alias": f"#cellar:{servers.there.name}",
        "user_is_target": True,
        "prio": "high",
        "counts": {},
    }
    assert by_key["short"].keys() == {"event_id", "room_id", "counts", "devices", "prio"}
    assert by_key["short"]["event_id"] == event_id
    pushed = browser.decrypt(await gateway.next_web_push())
    assert (pushed["event_id"], pushed["room_name"]) == (event_id, "Cellar")
    text = await servers.mailbox.next_text()
    assert "Cellar" in text
    assert "alice: invites you" in text
    await lists_only(bob, event_id)
    await bob.joins(room)
    message = await alice.sends(room, "welcome")
    # It is not told again as an event of the room.
    assert [(await gateway.next())["event_id"] for _ in range(2)] == [message, message]


async def lists_only(bob: Client, event_id: str) -> None:
    """Look the invite up in the list of notifications."""
    [listed] = (await bob.get("notifications"))["notifications"]
    assert listed["event"]["event_id"] == event_id
    assert listed["event"]["state_key"] == bob.user_id
    assert listed["actions"] == ["notify", {"set_tweak": "sound", "value": "default"}]
    assert listed["read"] is False
    page = await bob.get("notifications", limit=1)
    assert [each["event"]["event_id"] for each in page["notifications"]] == [event_id]
    assert "next_token" not in page
    highlights = await bob.get("notifications", only="highlight")
    assert highlights["notifications"] == []


async def test_only_what_is_still_open_when_it_can_be_told_is_told(
    servers: Servers, gateway: PushGateway
) -> None:
    alice, bob = servers.alice, servers.bob
    await bob.post("pushers/set", gateway.pusher())
    gateway.is_down = True
    since = (await bob.syncs())["next_batch"]
    rejected, revoked, repeated = [await alice.creates_room(name=str(n)) for n in range(3)]
    for room in (rejected, revoked, repeated):
        await alice.invites(room, bob)
    await gateway.tried()
    await bob.leaves(rejected)
    await alice.kicks(revoked, bob)
    await sees(bob, "leave", revoked, since)
    await bob.leaves(repeated)
    await alice.invites(repeated, bob, reason="again")
    await only_waits(servers, bob, 1)
    gateway.is_down = False
    notification = await gateway.next()
    assert (notification["room_id"], notification["content"]["reason"]) == (repeated, "again")
    await bob.joins(repeated)
    await alice.sends(repeated, "hello")
    assert (await gateway.next())["content"]["body"] == "hello"


async def only_waits(servers: Servers, client: Client, count: int) -> None:
    """Wait until so much waits: an attempt that began before that may be under way."""
    database = servers.here.running.base.database
    while True:
        async with database.connection() as connection:
            waiting = await connection.fetchval("SELECT count(*) FROM push_queue")
        if waiting == count:
            return
        await client.syncs()


async def test_an_invite_that_its_server_sends_twice_is_told_once(servers: Servers) -> None:
    alice, bob, here = servers.alice, servers.bob, servers.here.running
    room = RoomID(await alice.creates_room())
    await alice.invites(room, bob)
    head = await servers.there.running.rooms.heads.head(room)
    assert head is not None
    nid = head.state["m.room.member", bob.user_id].event_nid
    invite = (await servers.there.running.rooms.cache.get([nid]))[nid]
    await here.receiving.outside.begin(
        UserID(bob.user_id),
        room,
        head.rules,
        membership="invite",
        sender=invite.sender,
        stripped_state=[],
        invite=invite,
    )
    async with here.base.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT pos, user_id, kind, room_nid, device_id FROM user_changes "
            "WHERE kind = $1 ORDER BY pos",
            MEMBERSHIP_OUTSIDE,
        )
    outside = here.parts.push.outside
    told = [await outside.pushes_of(UserEntry(*row)) for row in rows]
    assert [len(each) for each in told] == [1, 0]
    # Nor is it once more when it comes as an event of the room, unlike the next one.
    bob_id, room_nid = UserID(bob.user_id), rows[0]["room_nid"]
    assert await outside.has_told(bob_id, room_nid, invite.event_id)
    assert not await outside.has_told(bob_id, room_nid, EventID("$next"))


async def test_rules_and_ignored_users_silence_invites(
    servers: Servers, gateway: PushGateway
) -> None:
    alice, bob = servers.alice, servers.bob
    eve = await servers.strangers.user("eve")
    await bob.post("pushers/set", gateway.pusher())
    silent, ignored = [await alice.creates_room(name=str(n)) for n in range(2)]
    condition = {"kind": "event_match", "key": "room_id", "pattern": silent}
    rule = {"conditions": [condition], "actions": []}
    await bob.put("pushrules/global/override/quiet", rule)
    await alice.invites(silent, bob)
    gateway.is_down = True
    await alice.invites(ignored, bob)
    await gateway.tried()
    path = f"user/{quoted(bob.user_id)}/account_data/m.ignored_user_list"
    await bob.put(path, {"ignored_users": {alice.user_id: {}}})
    await only_waits(servers, bob, 0)
    await alice.invites(await alice.creates_room(), bob)
    gateway.is_down = False
    loud = await eve.creates_room()
    await eve.invites(loud, bob)
    assert (await gateway.next())["room_id"] == loud
    listed = (await bob.get("notifications"))["notifications"]
    assert [each["room_id"] for each in listed] == [loud]


async def test_who_is_invited_is_told_once_though_a_neighbor_has_joined_meanwhile(
    servers: Servers, gateway: PushGateway
) -> None:
    alice, bob = servers.alice, servers.bob
    carol = await servers.neighbors.user("carol")
    await bob.post("pushers/set", gateway.pusher())
    gateway.is_down = True
    room = await alice.creates_room(preset="private_chat", name="Cellar")
    await alice.invites(room, carol)
    await alice.invites(room, bob)
    await gateway.tried()
    await carol.joins(room)
    gateway.is_down = False
    notification = await gateway.next()
    assert (notification["room_id"], notification["user_is_target"]) == (room, True)
    assert notification["room_name"] == "Cellar"
    await bob.joins(room)
    await alice.sends(room, "hello")
    assert (await gateway.next())["content"]["body"] == "hello"
