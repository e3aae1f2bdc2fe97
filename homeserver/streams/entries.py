"""The entries of the log as nodes pass them around."""

from array import array
from collections.abc import Iterable
from sys import intern
from typing import Final, NamedTuple, TypeAlias

from homeserver.protocol.client_event import client_event
from homeserver.protocol.event import StateKey
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.storage.events import EventRecord
from homeserver.storage.presence import PresenceState

# Kinds of user changes.
TOKENS_REVOKED: Final = "tokens_revoked"
# A device is there, is gone, or has another name: what other servers are told.
DEVICE_CHANGED: Final = "device_changed"
# The identity keys of a device, with their signatures, are new or gone: see device_list_positions.
DEVICE_KEYS_CHANGED: Final = "device_keys_changed"
CROSS_SIGNING_CHANGED: Final = "cross_signing_changed"
# The entry's user has signed keys of other users.
USERS_SIGNED: Final = "users_signed"
# A device has more or fewer one-time keys, or another fallback key, or that is used now.
ONE_TIME_KEYS_CHANGED: Final = "one_time_keys_changed"
ACCOUNT_CHANGED: Final = "account_changed"
# What the user has said before is redacted for those who come later.
ACCOUNT_ERASED: Final = "account_erased"
ROOM_FORGOTTEN: Final = "room_forgotten"
# A membership of the entry's room, which this server is not in: an invite or a knock, or its end.
MEMBERSHIP_OUTSIDE: Final = "membership_outside"
# All members of the entry's room are known from here on; one entry for each local user of it.
ROOM_COMPLETED: Final = "room_completed"
# The display name or the avatar, which rooms tell their members.
PROFILE_CHANGED: Final = "profile_changed"
# Global account data, or that about the entry's room.
ACCOUNT_DATA_CHANGED: Final = "account_data_changed"
IGNORED_USERS_CHANGED: Final = "ignored_users_changed"
PUSH_RULES_CHANGED: Final = "push_rules_changed"
# The user may have a pusher that was not there before.
PUSHERS_CHANGED: Final = "pushers_changed"


class StateChange(NamedTuple):
    """One key of a room's current state took a new value; event_nid None: it was removed."""

    key_nid: int
    key: StateKey
    event_nid: int | None
    event_id: str | None
    membership: str | None


class Redacted(NamedTuple):
    """The event that a redaction took effect on, and its redacted core."""

    event_nid: int
    core: bytes


class UserCount(NamedTuple):
    """For one user an event counts differently than for the default class.

    What it adds to the running counts, and how it counts alone where those do not: see
    `personal_rules.RulesInRoom`.
    """

    user_id: str
    notify_delta: int
    highlight_delta: int
    is_notification: bool
    is_highlight: bool


class EventEntry:
    """A live event, with the changes of the current state at its position.

    `client_head` is the client form of the event up to where `unsigned` would follow, made once
    for all the users who get it.
    """

    __slots__ = (
        "_client_head", "notifications", "pos", "record", "redaction", "room_id", "state_changes",
    )  # fmt: skip

    def __init__(
        self,
        record: EventRecord,
        room_id: RoomID,
        state_changes: tuple[StateChange, ...],
        *,
        redaction: Redacted | None = None,
        notifications: tuple[UserCount, ...] = (),
    ) -> None:
        assert record.pos is not None
        self.pos = record.pos
        self.record = record
        self.room_id = room_id
        self.state_changes = state_changes
        self.redaction = redaction
        self.notifications = notifications
        self._client_head: bytes | None = None

    def redact(self, core: bytes, by: "EventEntry") -> None:
        """Take the redacted form, as PostgreSQL has done."""
        self.record = self.record._replace(
            core=core, redaction_id=by.record.event_id, redaction_core=by.record.core
        )
        self.notifications = ()
        self._client_head = None

    def redact_replaced(self, core: bytes) -> None:
        """Take the redacted form of the state event that this one replaced."""
        self.record = self.record._replace(replaced_core=core)

    def redact_redaction(self, core: bytes) -> None:
        """Take the redacted form of the redaction that took effect on this event."""
        self.record = self.record._replace(redaction_core=core)

    @property
    def room_nid(self) -> int:
        """The number of the event's room."""
        return self.record.room_nid

    @property
    def client_head(self) -> bytes:
        """The event as in /sync, without room_id and unsigned and without the closing brace."""
        head = self._client_head
        if head is None:
            record = self.record
            head = self._client_head = client_event(record.core, event_id=record.event_id)[:-1]
        return head


class UserEntry(NamedTuple):
    """A rare change of a user's account."""

    pos: int
    user_id: str
    kind: str
    room_nid: int | None
    device_id: str | None


class ReadPoint(NamedTuple):
    """What a receipt reads: up to a position, in one thread where `thread_nid` names it.

    The running counts are those of the main timeline or the thread at that position.
    """

    read_pos: int
    thread_nid: int | None
    notify_seq: int
    highlight_seq: int


class ReceiptEntry(NamedTuple):
    """A receipt went forward; `thread_id` is '' for an unthreaded one, `ts` is in ms.

    `read` is there where this node has written it, and for local users.
    """

    pos: int
    room_nid: int
    user_id: str
    receipt_type: str
    thread_id: str
    event_id: str
    ts: int
    read: ReadPoint | None = None


class ToDeviceEntry(NamedTuple):
    """Messages to devices of some local users, and to other servers, wait from here on.

    Read back, it is without those that are delivered by then.
    """

    pos: int
    user_ids: tuple[str, ...]
    destinations: tuple[str, ...]

    @classmethod
    def of(cls, pos: int, user_ids: Iterable[str], destinations: Iterable[str]) -> "ToDeviceEntry":
        """Make an entry; the same users in many of them take their space once."""
        return cls(pos, tuple(map(intern, user_ids)), tuple(map(intern, destinations)))


class PresenceEntry(NamedTuple):
    """The presence of a user of any server has changed; `room_nids` are the user's joined rooms."""

    state: PresenceState
    room_nids: "array[int]"

    @classmethod
    def of(cls, state: PresenceState, room_nids: Iterable[int]) -> "PresenceEntry":
        """Make an entry; the numbers of rooms are packed, as there may be hundreds."""
        return cls(state, array("q", room_nids))

    @property
    def pos(self) -> int:
        """The position of the change."""
        return self.state.pos

    @property
    def user_id(self) -> UserID:
        """Whose presence it is."""
        return self.state.user_id


LogEntry: TypeAlias = EventEntry | UserEntry | ReceiptEntry | ToDeviceEntry | PresenceEntry
