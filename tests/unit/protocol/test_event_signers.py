"""Who must have signed an event."""

from typing import Any

import pytest

from homeserver.protocol.event import Event
from homeserver.protocol.event_signers import required_signers
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.room_versions import rules_of

MEMBER = "m.room.member"
AUTHORIZED = {"membership": "join", "join_authorised_via_users_server": "@b:b.example"}
INVITED = {"membership": "invite", "third_party_invite": {"signed": {}}}


@pytest.mark.parametrize(
    ("version", "event_type", "content", "signers"),
    [
        ("1", "m.room.message", {}, {"a.example", "event.example"}),
        ("2", MEMBER, INVITED, {"event.example"}),
        ("3", "m.room.message", {}, {"a.example"}),
        ("12", "m.room.message", AUTHORIZED, {"a.example"}),
        ("12", MEMBER, {"membership": "join"}, {"a.example"}),
        ("12", MEMBER, {"membership": "invite"}, {"a.example"}),
        ("12", MEMBER, {"membership": "invite", "third_party_invite": 1}, {"a.example"}),
        ("12", MEMBER, {**INVITED, "membership": "join"}, {"a.example"}),
        ("12", MEMBER, INVITED, set()),
        ("7", MEMBER, AUTHORIZED, {"a.example"}),
        ("8", MEMBER, AUTHORIZED, {"a.example", "b.example"}),
        ("8", MEMBER, {**AUTHORIZED, "join_authorised_via_users_server": "b"}, None),
        ("8", MEMBER, {**AUTHORIZED, "join_authorised_via_users_server": None}, None),
        ("8", MEMBER, {**AUTHORIZED, "join_authorised_via_users_server": {}}, None),
    ],
)
def test_signers_follow_from_the_event(
    version: str, event_type: str, content: dict[str, Any], signers: set[str] | None
) -> None:
    event = Event(
        event_id=EventID("$x:event.example"),
        room_id=RoomID("!r:a.example"),
        room_version=version,
        type=event_type,
        sender=UserID("@a:a.example"),
        content=content,
        origin_server_ts=1,
        depth=1,
        prev_events=(),
        auth_events=(),
        pdu={},
        state_key="@c:c.example" if event_type == MEMBER else None,
    )
    assert required_signers(event, rules_of(version)) == signers
