"""Random things that users do to rooms; refusals are part of life."""

import contextlib
import random
from typing import Any

from homeserver.errors import MatrixError
from homeserver.protocol.errors import ProtocolError
from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.rooms.create import NewRoom
from homeserver.services.receipts import NewReceipt
from homeserver.web.requester import Requester
from tests.laws.unread_model import AcceptedReceipt
from tests.support.node import Node


class History:
    """Acts at random, as some users in a few rooms, through any of the nodes."""

    def __init__(
        self,
        nodes: list[Node],
        users: list[Requester],
        seed: int,
        *,
        is_about_reading: bool = False,
    ) -> None:
        self._nodes = nodes
        self._users = users
        self._random = random.Random(seed)
        self._is_about_reading = is_about_reading
        self._rooms: list[RoomID] = []
        self._messages: dict[RoomID, list[EventID]] = {}
        # The threads of related messages, None for those in the main timeline.
        self._related: dict[EventID, EventID | None] = {}
        self.receipts: list[AcceptedReceipt] = []
        self._count = 0

    async def act(self) -> None:
        """Do one thing."""
        self._count += 1
        most_rooms = 2 if self._is_about_reading else 4
        if not self._rooms or (len(self._rooms) < most_rooms and self._random.random() < 0.1):
            await self._create()
            return
        actions = self._weights()
        action = self._random.choices([a for a, _ in actions], [w for _, w in actions])[0]
        with contextlib.suppress(MatrixError, ProtocolError):
            await action(self._any_node(), self._any_user(), self._random.choice(self._rooms))

    def _weights(self) -> list[tuple[Any, int]]:
        if self._is_about_reading:
            # Few rooms in which nearly everybody stays.
            return [
                (self._message, 8),
                (self._mention, 6),
                (self._mention_room, 2),
                (self._notice, 1),
                (self._reply, 12),
                (self._relate, 6),
                (self._receipt, 8),
                (self._redact, 8),
                (self._topic, 1),
                (self._join, 5),
                (self._leave, 1),
            ]
        return [
            (self._message, 10),
            (self._mention, 2),
            (self._mention_room, 1),
            (self._notice, 1),
            (self._reply, 3),
            (self._relate, 2),
            (self._receipt, 3),
            (self._redact, 2),
            (self._topic, 3),
            (self._join, 4),
            (self._leave, 2),
            (self._invite, 3),
            (self._kick, 1),
            (self._ban, 1),
            (self._unban, 1),
            (self._rename, 2),
            (self._visibility, 1),
        ]

    def goes_on_with(self, nodes: list[Node]) -> None:
        """Act through other nodes from now on."""
        self._nodes = nodes

    def _any_node(self) -> Node:
        return self._random.choice(self._nodes)

    def _any_user(self) -> Requester:
        return self._random.choice(self._users)

    async def _create(self) -> None:
        presets = ["public_chat"] if self._is_about_reading else ["public_chat", "private_chat"]
        preset: Any = self._random.choice(presets)
        version = self._random.choice(["1", "6", "10", "11", "12"])
        room_id = await self._any_node().rooms.create.create(
            self._any_user(), NewRoom(preset=preset, room_version=version)
        )
        self._rooms.append(room_id)
        self._messages[room_id] = []

    async def _send(self, node: Node, user: Requester, room: RoomID, content: Any) -> None:
        event_id = await node.rooms.send.message(
            user, room, "m.room.message", f"t{self._count}", content
        )
        self._messages[room].append(event_id)

    async def _message(self, node: Node, user: Requester, room: RoomID) -> None:
        await self._send(node, user, room, {"msgtype": "m.text", "body": str(self._count)})

    async def _mention(self, node: Node, user: Requester, room: RoomID) -> None:
        mentions = {"user_ids": [self._any_user().user_id]}
        content = {"msgtype": "m.text", "body": "you", "m.mentions": mentions}
        await self._send(node, user, room, content)

    async def _mention_room(self, node: Node, user: Requester, room: RoomID) -> None:
        mentions = {"room": True, "user_ids": [self._any_user().user_id]}
        content = {"msgtype": "m.text", "body": "all", "m.mentions": mentions}
        await self._send(node, user, room, content)

    async def _notice(self, node: Node, user: Requester, room: RoomID) -> None:
        await self._send(node, user, room, {"msgtype": "m.notice", "body": "beep"})

    async def _reply(self, node: Node, user: Requester, room: RoomID) -> None:
        roots = [event_id for event_id in self._messages[room] if event_id not in self._related]
        if roots:
            # A few threads that go on, rather than many of one message.
            root = self._random.choice(roots[:3])
            await self._send_related(node, user, room, "m.thread", root)

    async def _relate(self, node: Node, user: Requester, room: RoomID) -> None:
        if self._messages[room]:
            rel_type = self._random.choice(["m.reference", "m.replace", "org.example.other"])
            target = self._random.choice(self._messages[room])
            await self._send_related(node, user, room, rel_type, target)

    async def _send_related(
        self, node: Node, user: Requester, room: RoomID, rel_type: str, target: EventID
    ) -> None:
        relation = {"rel_type": rel_type, "event_id": target}
        mentions = {"user_ids": [self._any_user().user_id] if self._random.random() < 0.2 else []}
        content = {"body": str(self._count), "msgtype": "m.text", "m.mentions": mentions}
        await self._send(node, user, room, {**content, "m.relates_to": relation})
        sent = self._messages[room][-1]
        self._related[sent] = target if rel_type == "m.thread" else self._related.get(target)

    async def _receipt(self, node: Node, user: Requester, room: RoomID) -> None:
        """Read a message, seldom an old one, by itself or with all of the room."""
        if not self._messages[room]:
            return
        latest = self._messages[room][-8:] if self._random.random() < 0.8 else self._messages[room]
        event_id = self._random.choice(latest)
        own_part = self._related.get(event_id) or "main"
        thread_id = self._random.choice([None, None, own_part, own_part, "main"])
        kind = self._random.choice(["m.read", "m.read.private"])
        receipt = NewReceipt(kind, event_id, thread_id)
        await node.receipts.record(user.user_id, room, [receipt])
        self.receipts.append(AcceptedReceipt(user.user_id, room, event_id, thread_id))

    async def _redact(self, node: Node, user: Requester, room: RoomID) -> None:
        if self._messages[room]:
            target = self._random.choice(self._messages[room][-20:])
            await node.rooms.send.redaction(user, room, target, f"r{self._count}", {})

    async def _topic(self, node: Node, user: Requester, room: RoomID) -> None:
        content = {"topic": str(self._count)}
        await node.rooms.send.state(user, room, "m.room.topic", "", content)

    async def _join(self, node: Node, user: Requester, room: RoomID) -> None:
        await node.rooms.memberships.join(user, room)

    async def _leave(self, node: Node, user: Requester, room: RoomID) -> None:
        await node.rooms.memberships.leave(user, room)

    async def _invite(self, node: Node, user: Requester, room: RoomID) -> None:
        await node.rooms.memberships.invite(user, room, self._any_user().user_id)

    async def _kick(self, node: Node, user: Requester, room: RoomID) -> None:
        await node.rooms.memberships.kick(user, room, self._any_user().user_id)

    async def _ban(self, node: Node, user: Requester, room: RoomID) -> None:
        await node.rooms.memberships.ban(user, room, self._any_user().user_id)

    async def _unban(self, node: Node, user: Requester, room: RoomID) -> None:
        await node.rooms.memberships.unban(user, room, self._any_user().user_id)

    async def _rename(self, node: Node, user: Requester, room: RoomID) -> None:
        content = {"membership": "join", "displayname": str(self._count)}
        await node.rooms.memberships.set_member_event(user, room, user.user_id, content)

    async def _visibility(self, node: Node, user: Requester, room: RoomID) -> None:
        value = self._random.choice(["shared", "invited", "joined", "world_readable"])
        content = {"history_visibility": value}
        await node.rooms.send.state(user, room, "m.room.history_visibility", "", content)
