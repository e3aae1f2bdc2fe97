"""A client that believes what /sync tells it, in the way that the specification prescribes."""

from typing import Any

from tests.laws.unread_model import Counts, told_unread


class ClientModel:
    """The rooms as a client knows them from the answers so far."""

    def __init__(self, *, state_after: bool) -> None:
        self.state_after = state_after
        self.since: str | None = None
        self.state: dict[str, dict[tuple[str, str], str]] = {}
        self.timelines: dict[str, list[dict[str, Any]]] = {}
        self.sections: dict[str, str] = {}
        self.unread: dict[str, Counts] = {}
        # By user, type and thread: the event.
        self.receipts: dict[str, dict[tuple[str, str, str | None], str]] = {}
        self.summaries: dict[str, dict[str, Any]] = {}
        self.stripped: dict[str, list[Any]] = {}
        # The timeline of the answer that is being applied.
        self._arrived: list[dict[str, Any]] = []

    def take(self, answer: dict[str, Any]) -> None:
        """Apply one answer."""
        self.since = answer["next_batch"]
        rooms = answer.get("rooms", {})
        for section in ("join", "leave"):
            for room_id, room in rooms.get(section, {}).items():
                self._take_room(room_id, room, section)
        for section, key in (("invite", "invite_state"), ("knock", "knock_state")):
            for room_id, room in rooms.get(section, {}).items():
                self.sections[room_id] = section
                self.stripped[room_id] = room[key]["events"]

    def _take_room(self, room_id: str, room: dict[str, Any], section: str) -> None:
        self.sections[room_id] = section
        state = self.state.setdefault(room_id, {})
        timeline = self.timelines.setdefault(room_id, [])
        key = "state_after" if self.state_after else "state"
        other = "state" if self.state_after else "state_after"
        assert other not in room
        events = self._arrived = room["timeline"]["events"]
        if room["timeline"].get("limited"):
            timeline.clear()
        for event in room[key]["events"]:
            state[(event["type"], event["state_key"])] = event["event_id"]
        known = {event["event_id"] for event in timeline}
        for event in events:
            assert event["event_id"] not in known, "the same event came twice"
            timeline.append(event)
            if not self.state_after and "state_key" in event:
                state[(event["type"], event["state_key"])] = event["event_id"]
            if event["type"] == "m.room.redaction":
                self._redact(timeline, event)
        if "summary" in room:
            self.summaries.setdefault(room_id, {}).update(room["summary"])
        for event in room.get("ephemeral", {}).get("events", ()):
            if event["type"] == "m.receipt":
                self._take_receipts(self.receipts.setdefault(room_id, {}), event["content"])
        if "unread_notifications" in room:
            self.unread[room_id] = told_unread(room)

    def _take_receipts(
        self, receipts: dict[tuple[str, str, str | None], str], content: dict[str, Any]
    ) -> None:
        for event_id, by_type in content.items():
            for receipt_type, by_user in by_type.items():
                for user_id, metadata in by_user.items():
                    receipts[(user_id, receipt_type, metadata.get("thread_id"))] = event_id

    def _redact(self, timeline: list[dict[str, Any]], redaction: dict[str, Any]) -> None:
        for event in timeline:
            if event["event_id"] == redaction["content"]["redacts"]:
                if event in self._arrived:
                    assert "redacted_because" in event["unsigned"], "it is redacted already"
                if event["type"] == "m.room.message":
                    event["content"] = {}
                event.setdefault("unsigned", {})["redacted_because"] = True


def known_facts(model: ClientModel) -> dict[str, Any]:
    """Return what two clients of one user must agree on, however they learned it."""
    return {
        "sections": {r: s for r, s in model.sections.items() if s != "leave"},
        "state": {r: model.state[r] for r, s in model.sections.items() if s == "join"},
        "unread": {r: model.unread[r] for r, s in model.sections.items() if s == "join"},
        "receipts": {r: model.receipts.get(r) for r, s in model.sections.items() if s == "join"},
        "counts": {
            r: {k: v for k, v in model.summaries[r].items() if k != "m.heroes"}
            for r, s in model.sections.items()
            if s == "join"
        },
    }


def visible(events: list[dict[str, Any]]) -> list[tuple[str, Any, bool]]:
    """Return what a timeline shows: IDs, contents, and what has been redacted."""
    return [
        (event["event_id"], event["content"], "redacted_because" in event.get("unsigned", {}))
        for event in events
    ]
