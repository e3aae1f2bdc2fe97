"""Hand-made rooms: `make_room(version)` is one with Alice of `one` as creator and only member."""

import pytest

from homeserver.protocol.auth_rules.check import (
    check_auth,
    check_state_dependent,
    check_state_independent,
)
from homeserver.protocol.errors import AuthRefusal
from homeserver.protocol.event import Event
from homeserver.protocol.room_versions import ROOM_VERSIONS

ALICE = "@alice:one"


def refusal_of(check, *args, **kwargs):
    """Return the name of the rule that refuses, None where the check accepts."""
    try:
        check(*args, **kwargs)
    except AuthRefusal as refusal:
        return str(refusal.rule)
    return None


class Room:
    """A room state under construction, and events to judge against it."""

    def __init__(self, version, create_content=None):
        self.rules = ROOM_VERSIONS[version]
        self.state = {}
        self._count = 0
        content = {"room_version": version}
        if not self.rules.implicit_creator:
            content["creator"] = ALICE
        self.room_id = "!room:one"
        if self.rules.room_id_is_create_hash:
            self.room_id = "!" + self._next_id(ALICE)[1:]
            self._count = 0
        self.create = self.put(
            "m.room.create", {**content, **(create_content or {})}, state_key="", prev_events=()
        )
        self.has(ALICE, "join")

    def event(self, event_type, content=None, *, sender=ALICE, state_key=None, **fields):
        """Make an event that is not in the state."""
        fields = {
            "event_id": self._next_id(sender),
            "room_id": self.room_id,
            "prev_events": ("$previous:one",),
            "auth_events": (),
            **fields,
        }
        pdu = {"type": event_type, "sender": sender, "content": content or {}}
        # Only the create event of version 12 has the ID of its room, and no room ID in the PDU.
        if fields["room_id"][1:] != fields["event_id"][1:]:
            pdu["room_id"] = fields["room_id"]
        return Event(
            room_version=self.rules.version,
            type=event_type,
            sender=sender,
            content=content or {},
            state_key=state_key,
            origin_server_ts=0,
            depth=1,
            pdu=pdu,
            **fields,
        )

    def put(self, event_type, content=None, *, state_key="", **fields):
        """Make an event and put it into the state."""
        event = self.event(event_type, content, state_key=state_key, **fields)
        self.state[event_type, state_key] = event
        return event

    def has(self, user_id, membership):
        """Put a membership into the state."""
        return self.put(
            "m.room.member", {"membership": membership}, sender=user_id, state_key=user_id
        )

    def levels(self, **content):
        """Put power levels into the state."""
        return self.put("m.room.power_levels", content)

    def join_rule(self, rule):
        """Put a join rule into the state."""
        return self.put("m.room.join_rules", {"join_rule": rule})

    def member(self, target, membership, *, by=None, prev_events=("$previous:one",), **content):
        """Make a change of membership, by the target unless it says otherwise."""
        return self.event(
            "m.room.member",
            {"membership": membership, **content},
            sender=by or target,
            state_key=target,
            prev_events=prev_events,
        )

    def citing(self, *auth_events, event_type="m.room.message", **fields):
        """Make an event that cites the given ones as its auth events."""
        ids = tuple(event.event_id for event in auth_events)
        return self.event(event_type, auth_events=ids, **fields)

    def refusal(self, event):
        """Judge by the state."""
        return refusal_of(check_state_dependent, event, self.state, self.rules)

    def refusal_without_state(self, event, *auth_events, signed_by=(), rejected=()):
        """Judge by what depends on no state; the create event of the room is known."""
        return refusal_of(
            check_state_independent,
            event,
            auth_events,
            self.rules,
            signed_by=set(signed_by).__contains__,
            rejected=frozenset(rejected),
            create_event=self.create,
        )

    def refusal_by_auth_events(self, event, *auth_events):
        """Judge by everything, against the auth events as the state."""
        return refusal_of(
            check_auth,
            event,
            auth_events,
            self.rules,
            signed_by=frozenset().__contains__,
            create_event=self.create,
        )

    def _next_id(self, sender):
        self._count += 1
        domain = sender.partition(":")[2]
        if self.rules.version in ("1", "2"):
            return f"${self._count}:{domain}"
        return f"${self._count:043}"


@pytest.fixture
def make_room():
    return Room
