import pytest

from homeserver.protocol.errors import (
    AuthRefusal,
    BadSignature,
    EventTooLarge,
    InvalidBase64,
    InvalidEvent,
    InvalidIdentifier,
    InvalidJson,
    InvalidSigningKey,
    ProtocolError,
    UnsupportedRoomVersion,
)


@pytest.mark.parametrize(
    "error",
    [
        AuthRefusal,
        BadSignature,
        InvalidBase64,
        InvalidEvent,
        InvalidIdentifier,
        InvalidJson,
        InvalidSigningKey,
        UnsupportedRoomVersion,
    ],
)
def test_every_refusal_can_be_caught_as_one(error):
    assert issubclass(error, ProtocolError)


def test_an_event_that_is_too_large_is_invalid():
    assert issubclass(EventTooLarge, InvalidEvent)


def test_an_auth_refusal_names_its_rule_and_tells_the_reason():
    refusal = AuthRefusal("member.join.banned", "You are banned from this room.")

    assert refusal.rule == "member.join.banned"
    assert refusal.reason == "You are banned from this room."
    assert str(refusal) == "member.join.banned: You are banned from this room."


def test_an_unsupported_room_version_is_named():
    error = UnsupportedRoomVersion("org.example.1")

    assert error.room_version == "org.example.1"
    assert "org.example.1" in str(error)
