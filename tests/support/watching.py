"""What users are told over time: every answer of /sync, put together.

watcher = Watcher(alice)
await watcher.until(lambda w: w.bodies(room_id) == ["hello"])
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from tests.support.client import Client

# A server that has not told something in this time never will.
PATIENCE_SECONDS = 60
_WAIT_MS = 1_000
_FILTER = {"room": {"timeline": {"limit": 500}}, "presence": {"limit": 500}}


class Watcher:
    """Syncs for a user, and keeps what it was told."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        self.typing: defaultdict[str, list[list[str]]] = defaultdict(list)
        self.receipts: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.presence: dict[str, Any] = {}
        self.to_device: list[Any] = []
        self.changed: list[str] = []
        self.invited: dict[str, Any] = {}
        self.joined: set[str] = set()
        self.left: set[str] = set()
        self._since: str | None = None

    async def syncs(self, timeout_ms: int = 0) -> None:
        """Take one answer."""
        answer = await self.client.syncs(self._since, timeout=timeout_ms, filter=_FILTER)
        self._since = answer["next_batch"]
        rooms = answer.get("rooms", {})
        for room_id, room in rooms.get("join", {}).items():
            self._enters(room_id, self.joined)
            self._takes_timeline(room_id, room)
            for event in room.get("ephemeral", {}).get("events", ()):
                self._takes_ephemeral(room_id, event)
        for room_id, room in rooms.get("leave", {}).items():
            self._enters(room_id, self.left)
            self._takes_timeline(room_id, room)
        for room_id, room in rooms.get("invite", {}).items():
            self._enters(room_id, None)
            self.invited[room_id] = room["invite_state"]["events"]
        for event in answer.get("presence", {}).get("events", ()):
            self.presence[event["sender"]] = event["content"]
        self.to_device += answer.get("to_device", {}).get("events", ())
        self.changed += answer.get("device_lists", {}).get("changed", ())

    async def until(self, is_so: Callable[["Watcher"], object]) -> None:
        """Sync until something holds of what the user was told."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not is_so(self):
                    await self.syncs(_WAIT_MS)
        except TimeoutError as error:
            raise AssertionError(f"{self.client.user_id} was told only: {vars(self)}") from error

    async def reads(self, room_id: str, *bodies: str) -> None:
        """Sync until the user has read messages."""
        await self.until(lambda w: set(bodies) <= set(w.bodies(room_id)))

    def bodies(self, room_id: str) -> list[str]:
        """Return the messages that the user has seen, in order."""
        events = self.events[room_id].values()
        return [each["content"]["body"] for each in events if "body" in each["content"]]

    def _enters(self, room_id: str, section: set[str] | None) -> None:
        self.joined.discard(room_id)
        self.left.discard(room_id)
        self.invited.pop(room_id, None)
        if section is not None:
            section.add(room_id)

    def _takes_timeline(self, room_id: str, room: Any) -> None:
        for event in room.get("timeline", {}).get("events", ()):
            self.events[room_id][event["event_id"]] = event

    def _takes_ephemeral(self, room_id: str, event: Any) -> None:
        if event["type"] == "m.typing":
            self.typing[room_id].append(event["content"]["user_ids"])
        if event["type"] == "m.receipt":
            for event_id, by_type in event["content"].items():
                for user_id in by_type.get("m.read", ()):
                    self.receipts[room_id][user_id] = event_id


async def state_of(client: Client, room_id: str) -> dict[tuple[str, str], str]:
    """Return the event IDs of the current state, as the user's server has it."""
    events = await client.get(f"rooms/{room_id}/state")
    return {(each["type"], each["state_key"]): each["event_id"] for each in events}


async def history_of(client: Client, room_id: str) -> dict[str, Any]:
    """Return all that /messages has, page by page from the newest, by event ID."""
    found: dict[str, Any] = {}
    token: str | None = None
    while True:
        page = await client.reads_messages(room_id, from_=token, limit=100)
        for event in page["chunk"]:
            assert event["event_id"] not in found, "shown twice"
            found[event["event_id"]] = event
        if (token := page.get("end")) is None:
            return found


async def agreement(watchers: Iterable[Watcher], room_id: str) -> dict[str, Any]:
    """Sync until the users' servers have the same state and history; return the history.

    Redactions are compared as well: two servers that agree have erased the same contents.
    """
    watchers = list(watchers)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                views = [await _view(each.client, room_id) for each in watchers]
                if all(each == views[0] for each in views):
                    return await history_of(watchers[0].client, room_id)
                await asyncio.gather(*(each.syncs(_WAIT_MS) for each in watchers))
    except TimeoutError:
        differences = [_difference(views[0], each) for each in views[1:]]
        raise AssertionError(f"{room_id} differs: {differences}") from None


async def _view(client: Client, room_id: str) -> dict[str, dict[Any, Any]]:
    history = await history_of(client, room_id)
    return {
        "state": await state_of(client, room_id),
        "members": await client.reads_members(room_id),
        "history": {event_id: each["content"] for event_id, each in history.items()},
    }


def _difference(one: dict[str, dict[Any, Any]], other: dict[str, dict[Any, Any]]) -> Any:
    return {
        part: {
            key: (one[part].get(key), other[part].get(key))
            for key in one[part].keys() | other[part].keys()
            if one[part].get(key) != other[part].get(key)
        }
        for part in one
    }
