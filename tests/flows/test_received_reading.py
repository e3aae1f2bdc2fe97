"""What other servers say of the reading and typing of their users.

Spec: server-server-api/#receipts, server-server-api/#typing-notifications
"""

import pytest

from homeserver.protocol.edu import Receipt, Typing
from homeserver.run.reading_routes import receipts_of
from homeserver.services.typing_notifications import REMOTE_TIMEOUT_MS, TypingNotifications
from tests.support.reading import receipts_in, replies_in_thread, unread_in

ELSEWHERE = "@eve:elsewhere.example"


@pytest.fixture
async def room(server, alice):
    """A room of Alice and of somebody elsewhere."""
    room_id = await alice.creates_room(preset="public_chat")
    async with server.base.database.transaction() as tx:
        await tx.execute(
            """
            INSERT INTO memberships (user_id, room_nid, membership, event_nid, sender, pos)
            SELECT $1, room_nid, 'join', 1, $1, 1 FROM rooms WHERE room_id = $2
            """,
            ELSEWHERE,
            room_id,
        )
    return room_id


@pytest.fixture
def receive(server):
    """Takes receipts from another server."""
    receipts = receipts_of(server.base, server.rooms)

    async def received(room, *event_ids, user_id=ELSEWHERE, thread_id=None):
        await receipts.receive(
            Receipt(room_id=room, user_id=user_id, event_id=each, ts=5, thread_id=thread_id)
            for each in event_ids
        )

    return received


@pytest.fixture
def typing(server):
    return TypingNotifications(server.base.database, server.rooms.access, server.base.typing)


async def test_receipts_from_elsewhere_are_told_here_and_count_nothing(alice, room, receive):
    root = await alice.sends(room, "root")
    reply = await replies_in_thread(alice, room, root, "reply")
    await receive(room, reply)
    await receive(room, root)
    await receive(room, root, thread_id="main")
    await receive(room, reply, thread_id=root)
    answer = await alice.syncs()
    assert receipts_in(answer, room) == {
        (ELSEWHERE, "m.read", None): reply,
        (ELSEWHERE, "m.read", "main"): root,
        (ELSEWHERE, "m.read", root): reply,
    }
    assert unread_in(answer, room) == {"main": (0, 0)}


async def test_a_receipt_may_come_before_its_event(alice, room, receive):
    known = await alice.sends(room, "hello")
    await receive(room, known, "$on_its_way")
    assert receipts_in(await alice.syncs(), room) == {(ELSEWHERE, "m.read", None): "$on_its_way"}
    await receive(room, known)
    assert receipts_in(await alice.syncs(), room) == {(ELSEWHERE, "m.read", None): known}


async def test_receipts_that_say_nothing_true_are_passed_over(alice, room, receive):
    other = await alice.creates_room()
    elsewhere, here = await alice.sends(other, "elsewhere"), await alice.sends(room, "here")
    await receive(room, here, user_id="@stranger:elsewhere.example")
    await receive("!unknown:elsewhere.example", here)
    await receive(other, elsewhere)
    await receive(room, elsewhere)
    await receive(room, here, thread_id="$unknown")
    await receive(room, here, thread_id=here)
    await receive(room)
    answer = await alice.syncs()
    assert (receipts_in(answer, room), receipts_in(answer, other)) == ({}, {})


async def test_typing_elsewhere_is_told_here(server, clock, alice, room, typing, monkeypatch):
    monkeypatch.setattr(server.base.typing, "_clock", clock)
    starts = Typing(room_id=room, user_id=ELSEWHERE, typing=True)
    (room_nid,) = [
        row.room_nid for row in (await server.base.user_rooms.of_user(alice.user_id)).values()
    ]
    await typing.receive(starts)
    assert server.base.typing.rooms == {room_nid: (ELSEWHERE,)}
    await typing.receive(Typing(room_id=room, user_id=ELSEWHERE, typing=False))
    assert server.base.typing.rooms == {}
    await typing.receive(starts)
    clock.tick(REMOTE_TIMEOUT_MS / 1000)
    await server.base.typing.expire()
    assert server.base.typing.rooms == {}


async def test_typing_of_those_who_are_not_there_is_passed_over(server, room, typing):
    stranger = "@stranger:elsewhere.example"
    for room_id, user_id in ((room, stranger), ("!unknown:elsewhere.example", ELSEWHERE)):
        await typing.receive(Typing(room_id=room_id, user_id=user_id, typing=True))
    assert server.base.typing.rooms == {}
