"""The law of /sync for account data, and for unread counts whose push rules change."""

import random
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from homeserver.errors import MatrixError
from homeserver.protocol.errors import ProtocolError
from homeserver.protocol.identifiers import RoomID
from homeserver.protocol.push_rules.model import RuleKind
from homeserver.services.account_data import AccountData
from homeserver.services.push_rules import PushRules
from homeserver.services.tags import Tags
from homeserver.web.requester import Requester
from tests.laws.random_history import History
from tests.laws.sync_model import ClientModel, known_facts
from tests.laws.test_sync_law import all_nodes_reach_the_head
from tests.support.node import Node, running_node, user

ROUNDS = 20
ACTIONS = 8


class PersonalHistory(History):
    """As some users act in rooms, and keep notes about them."""

    def __init__(self, nodes: list[Node], users: list[Requester], seed: int) -> None:
        super().__init__(nodes, users, seed)
        self._choice = random.Random(-seed - 1)

    async def act(self) -> None:
        if not self._rooms or self._choice.random() < 0.5:
            await super().act()
            return
        notes_taken = (self._put, self._put_in_room, self._delete, self._tag)
        action = self._choice.choice((*notes_taken, *(self._mute, self._listen) * 3))
        node = self._choice.choice(self._nodes)
        base = node.base
        rules = PushRules(base.database, base.log_writer)
        notes = AccountData(base.database, base.log_writer, rules)
        who, room = self._choice.choice(self._users), self._choice.choice(self._rooms)
        with suppress(MatrixError, ProtocolError):
            await action(notes, rules, who, room)

    async def gather(self) -> None:
        """Have everybody come to every room who may, so that there is something to miss."""
        for room in self._rooms:
            for who in self._users:
                with suppress(MatrixError, ProtocolError):
                    await self._join(self._choice.choice(self._nodes), who, room)

    def _type(self) -> str:
        return self._choice.choice(["a", "b", "m.direct"])

    async def _put(self, notes: AccountData, _: PushRules, who: Requester, room: RoomID) -> None:
        await notes.put(who.user_id, self._type(), {"n": self._choice.random(), "room": room})

    async def _put_in_room(
        self, notes: AccountData, _: PushRules, who: Requester, room: RoomID
    ) -> None:
        content = {"n": self._choice.random()}
        await notes.put(who.user_id, self._type(), content, room_id=room)

    async def _delete(self, notes: AccountData, _: PushRules, who: Requester, room: RoomID) -> None:
        place = self._choice.choice([None, room])
        await notes.delete(who.user_id, self._type(), room_id=place)

    async def _tag(self, notes: AccountData, _: PushRules, who: Requester, room: RoomID) -> None:
        tags, tag = Tags(notes), self._choice.choice(["u.a", "u.b"])
        if self._choice.random() < 0.6:
            await tags.put(who.user_id, room, tag, {"order": 0.5})
        else:
            await tags.remove(who.user_id, room, tag)

    async def _mute(self, _: AccountData, rules: PushRules, who: Requester, room: RoomID) -> None:
        await rules.put(who.user_id, RuleKind.ROOM, room, {"actions": []})

    async def _listen(self, _: AccountData, rules: PushRules, who: Requester, room: RoomID) -> None:
        await rules.delete(who.user_id, RuleKind.ROOM, room)


class NotingClient(ClientModel):
    """A client that remembers account data as well."""

    def __init__(self) -> None:
        super().__init__(state_after=False)
        self.notes: dict[str, Any] = {}
        self.room_notes: dict[str, dict[str, Any]] = {}

    def take(self, answer: dict[str, Any]) -> None:
        super().take(answer)
        _take_notes(self.notes, answer.get("account_data", {"events": []}))
        for section in ("join", "leave"):
            for room_id, room in answer.get("rooms", {}).get(section, {}).items():
                _take_notes(self.room_notes.setdefault(room_id, {}), room["account_data"])

    def facts(self) -> dict[str, Any]:
        joined = [room for room, section in self.sections.items() if section == "join"]
        return {
            **known_facts(self),
            "notes": self.notes,
            "room notes": {room: self.room_notes[room] for room in joined},
        }


def _take_notes(notes: dict[str, Any], block: dict[str, Any]) -> None:
    for event in block["events"]:
        if event["content"]:
            notes[event["type"]] = event["content"]
        else:
            notes.pop(event["type"], None)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("node_count", [1, 2])
async def test_initial_sync_and_increments_tell_the_account_data_of_a_fresh_initial_sync(
    database_dsn: str, tmp_path: Path, seed: int, *, node_count: int
) -> None:
    users = [user(name) for name in ("alice", "bob", "carol")]
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(running_node(database_dsn, tmp_path))
            for _ in range(node_count)
        ]
        history = PersonalHistory(nodes, users, seed)
        clients = {each.user_id: NotingClient() for each in users}
        for round_ in range(ROUNDS):
            await history.gather()
            await all_nodes_reach_the_head(nodes)
            for _ in range((seed + round_) % ACTIONS + 1):
                await history.act()
            await all_nodes_reach_the_head(nodes)
            for number, each in enumerate(users):
                # Some clients come back seldom.
                if (round_ + number) % (number + 1) == 0:
                    client, node = clients[each.user_id], nodes[round_ % node_count]
                    client.take(await node.syncs(each, client.since))
                    fresh = NotingClient()
                    fresh.take(await node.syncs(each))
                    assert client.facts() == fresh.facts()
