"""Unread counts of users with push rules of their own, and of those who ignore somebody.

The slow and obvious count: every event is judged for every user by the whole of the user's rules.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.push_rules.conditions import PushEvent, RoomFacts, UserFacts
from homeserver.protocol.push_rules.defaults import MASTER_RULE_ID
from homeserver.protocol.push_rules.evaluate import CompiledRules
from homeserver.protocol.push_rules.model import RuleKind
from homeserver.protocol.push_rules.user_rules import (
    UserRules,
    merged,
    put_rule,
    set_actions,
    set_enabled,
)
from homeserver.rooms.create import NewRoom
from homeserver.storage import account_data, events, push_rules
from homeserver.storage.account_data import GLOBAL
from homeserver.storage.database import Transaction
from homeserver.storage.events import EventRecord, Place
from homeserver.streams.personal_rules import DEFAULT_RULES
from homeserver.web.requester import Requester
from tests.support.node import Node, running_node, user

NAMES = ("alice", "bob", "carol", "dave", "erin")
ROUNDS, EVENTS = 5, 12
LOUD = [{"set_tweak": "highlight"}, "notify"]

ACTIONS = (
    *("say", "say", "say", "notice", "cake", "name", "mention", "everybody", "encrypted"),
    *("topic", "redact", "rejoin"),
)

Change = Callable[[UserRules], UserRules]


def match(key: str, pattern: str) -> JsonObject:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def own(kind: RuleKind, rule_id: str, actions: list[Any], **body: Any) -> Change:
    return lambda rules: put_rule(rules, kind, rule_id, {"actions": actions, **body})


def override(rule_id: str, actions: list[Any], *conditions: JsonObject) -> Change:
    return own(RuleKind.OVERRIDE, rule_id, actions, conditions=list(conditions))


def enabled(kind: RuleKind, rule_id: str, *, is_enabled: bool) -> Change:
    return lambda rules: set_enabled(rules, DEFAULT_RULES, kind, rule_id, is_enabled=is_enabled)


def silenced(rule_id: str) -> Change:
    return lambda rules: set_actions(rules, DEFAULT_RULES, RuleKind.UNDERRIDE, rule_id, [])


def changes_for(room: RoomID, other: UserID) -> list[Change]:
    """What users do to their rules."""
    return [
        own(RuleKind.ROOM, room, []),
        own(RuleKind.ROOM, room, LOUD),
        own(RuleKind.ROOM, "!elsewhere:localhost", []),
        override("mute", [], match("room_id", room)),
        override("mute", [], match("room_id", "!*")),
        override("elsewhere", [], match("room_id", "!elsewhere:localhost")),
        override("name", LOUD, {"kind": "contains_display_name"}),
        override("small room", [], {"kind": "room_member_count", "is": "<3"}),
        own(RuleKind.CONTENT, "cake", LOUD, pattern="cake"),
        own(RuleKind.CONTENT, "no cake", [], pattern="cake"),
        own(RuleKind.SENDER, other, []),
        own(RuleKind.SENDER, other, LOUD),
        own(RuleKind.UNDERRIDE, "topic", ["notify"], conditions=[match("type", "m.room.topic")]),
        enabled(RuleKind.OVERRIDE, MASTER_RULE_ID, is_enabled=True),
        enabled(RuleKind.OVERRIDE, ".m.rule.suppress_notices", is_enabled=False),
        enabled(RuleKind.OVERRIDE, ".m.rule.is_user_mention", is_enabled=False),
        enabled(RuleKind.OVERRIDE, ".m.rule.is_room_mention", is_enabled=False),
        enabled(RuleKind.OVERRIDE, ".m.rule.member_event", is_enabled=False),
        enabled(RuleKind.UNDERRIDE, ".m.rule.message", is_enabled=False),
        silenced(".m.rule.message"),
        silenced(".m.rule.encrypted"),
    ]


class Society:
    """Some users in one room, each with rules of their own."""

    def __init__(self, nodes: list[Node], seed: int) -> None:
        self.nodes = nodes
        self.users = [user(name) for name in NAMES]
        self.rules: dict[UserID, UserRules] = {}
        self.ignored: dict[UserID, set[UserID]] = {}
        self.room = RoomID("")
        self._random = random.Random(seed)
        self._sent: list[EventID] = []
        self._count = 0

    def any_node(self) -> Node:
        return self._random.choice(self.nodes)

    async def gather(self) -> None:
        owner, *others = self.users
        self.room = await self.any_node().rooms.create.create(
            owner, NewRoom(preset="public_chat", room_version="10")
        )
        for each in others:
            await self.any_node().rooms.memberships.join(each, self.room)

    async def change_their_minds(self) -> None:
        """Give some users other rules; they read everything, so that the old ones are past."""
        for each in self._random.sample(self.users, 3):
            rules = UserRules()
            other = self._random.choice(self.users).user_id
            for change in self._random.sample(changes_for(self.room, other), 3):
                rules = change(rules) if self._random.random() < 0.6 else rules
            self.rules[each.user_id] = rules
            self.ignored[each.user_id] = {
                other.user_id for other in self.users if self._random.random() < 0.2
            }
            await self._store(each.user_id)
        await self.all_nodes_reach_the_head()
        for each in self.users:
            await self._send(each, {"body": "I have read it all"})

    async def _store(self, user_id: UserID) -> None:
        ignored = {"ignored_users": {other: {} for other in self.ignored[user_id]}}

        async def write(tx: Transaction) -> None:
            await push_rules.put(tx, user_id, msgspec.json.encode(self.rules[user_id]))
            await account_data.put(
                tx, user_id, GLOBAL, "m.ignored_user_list", msgspec.json.encode(ignored)
            )

        await self.any_node().base.database.run_transaction(write)

    async def all_nodes_reach_the_head(self) -> None:
        head = await self.nodes[0].base.reader.head()
        await asyncio.gather(*(node.base.tail.reach(head) for node in self.nodes))

    async def act(self) -> None:
        """Say or do something."""
        sender, other = self._random.sample(self.users, 2)
        action = self._random.choice(ACTIONS)
        content: dict[str, JsonObject] = {
            "say": {"body": "hello"},
            "notice": {"msgtype": "m.notice", "body": "beep"},
            "cake": {"body": "Have some cake!"},
            "name": {"body": f"look, {other.user_id[1:].split(':')[0]}"},
            "mention": {"body": "you", "m.mentions": {"user_ids": [other.user_id]}},
            "everybody": {
                "body": "all",
                "m.mentions": {"room": True, "user_ids": [other.user_id]},
            },
        }
        if action in content:
            await self._send(sender, content[action])
        elif action == "encrypted":
            await self._send(sender, {"ciphertext": "x"}, "m.room.encrypted")
        elif action == "topic":
            await self.any_node().rooms.send.state(
                self.users[0], self.room, "m.room.topic", "", {"topic": str(self._count)}
            )
        elif action == "redact" and self._sent:
            target = self._random.choice(self._sent)
            self._count += 1
            await self.any_node().rooms.send.redaction(
                self.users[0], self.room, target, f"r{self._count}", {}
            )
        elif action == "rejoin":
            node = self.any_node()
            await node.rooms.memberships.leave(self.users[-1], self.room)
            await node.rooms.memberships.join(self.users[-1], self.room)
            # Another node would join nobody whom it has not seen leave.
            await self.all_nodes_reach_the_head()

    async def _send(
        self, sender: Requester, content: JsonObject, event_type: str = "m.room.message"
    ) -> None:
        self._count += 1
        event_id = await self.any_node().rooms.send.message(
            sender, self.room, event_type, f"t{self._count}", content
        )
        self._sent.append(event_id)


async def counted(society: Society, user_id: UserID) -> dict[str, int]:
    """Count event by event what the user has not read."""
    node = society.nodes[0]
    head = await node.rooms.heads.head(society.room)
    assert head is not None
    async with node.base.database.connection() as connection:
        timeline = await events.timeline_forwards(
            connection, head.room_nid, Place(0, 0), Place(2**62, 0), 10_000
        )
    whole = await node.rooms.cache.get([record.event_nid for record in timeline])
    compiled = CompiledRules(merged(society.rules.get(user_id, UserRules()), DEFAULT_RULES))
    facts = RoomFacts(head.joined, head.power_levels)
    owner = UserFacts(user_id, user_id[1:].split(":")[0])
    ignored = society.ignored.get(user_id, set()) - {user_id}
    unread = timeline[last_read(timeline, user_id) + 1 :]
    outcomes = [
        compiled.evaluate(PushEvent(whole[record.event_nid]), facts, owner)
        for record in unread
        if record.redaction_id is None and record.sender not in ignored
    ]
    return {
        "notification_count": sum(outcome.notify for outcome in outcomes),
        "highlight_count": sum(outcome.highlight for outcome in outcomes),
    }


def last_read(timeline: list[EventRecord], user_id: UserID) -> int:
    return max(
        place
        for place, record in enumerate(timeline)
        if record.sender == user_id
        and (record.state_key is None or b'"membership":"join"' in record.core)
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("node_count", [1, 2])
async def test_unread_counts_are_those_of_the_users_own_rules(
    database_dsn: str, tmp_path: Path, seed: int, *, node_count: int
) -> None:
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(running_node(database_dsn, tmp_path))
            for _ in range(node_count)
        ]
        society = Society(nodes, seed)
        await society.gather()
        for _ in range(ROUNDS):
            await society.change_their_minds()
            for _ in range(EVENTS):
                await society.act()
            await society.all_nodes_reach_the_head()
            for each in society.users:
                expected = await counted(society, each.user_id)
                for node in nodes:
                    answer = await node.syncs(each)
                    room = answer["rooms"]["join"][society.room]
                    assert room["unread_notifications"] == expected, each.user_id
