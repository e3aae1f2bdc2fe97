"""What this node sees of its users: which clients are connected, and who has been idle for long.

In memory, and read from a clock. Spec: client-server-api/#presence
"""

import heapq
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from homeserver.protocol.identifiers import UserID
from homeserver.storage.presence import Seen
from homeserver.streams.entries import (
    ACCOUNT_CHANGED,
    PROFILE_CHANGED,
    LogEntry,
    PresenceEntry,
    UserEntry,
)
from homeserver.streams.presence_index import active_user_of
from homeserver.telemetry.clock import Clock

# client-server-api/#idle-timeout: "e.g. 5 minutes".
IDLE_MS: Final = 300_000
# How long `currently_active` lasts: shorter, and people who chat slowly would be told of with
# nearly each message; much longer would say nothing.
ACTIVE_MS: Final = 120_000
# A client whose sync has ended may be on its way with the next one, through a tunnel too.
GRACE_MS: Final = 45_000

Connected: TypeAlias = Literal["online", "unavailable"]


class SeenChange(NamedTuple):
    """What a user is by the clients of this node has changed; `seen` None: none are connected.

    `is_profile_new`: others are to be told even if nothing else is new.
    """

    user_id: UserID
    seen: Seen | None
    last_active_ts: int
    is_profile_new: bool


class _Client:
    """One device; connected while it syncs, and for a grace after."""

    __slots__ = ("idle_since_ms", "syncs", "until_ms")

    def __init__(self) -> None:
        self.syncs = 0
        self.until_ms = 0
        # Since when the client says to be idle.
        self.idle_since_ms: int | None = None

    def is_connected(self, now_ms: int) -> bool:
        return self.syncs > 0 or self.until_ms > now_ms


class _Session:
    """A user who has clients here."""

    __slots__ = ("clients", "due_ms", "is_profile_new", "last_active_ms", "told_unavailable", "was")

    def __init__(self) -> None:
        self.clients: dict[str, _Client] = {}
        self.last_active_ms = 0
        # What was taken last to be written.
        self.was: Seen | None = None
        self.is_profile_new = False
        # Whether others believe so, for whatever reason.
        self.told_unavailable = False
        # When to look again.
        self.due_ms: int | None = None

    def look(self, now_ms: int) -> Seen | None:
        """Return what the user is; forgets clients that are gone."""
        for device in [d for d, c in self.clients.items() if not c.is_connected(now_ms)]:
            del self.clients[device]
        if not self.clients:
            return None
        idle_ms = now_ms - self.last_active_ms
        # "Any activity [...] on any of the user's clients" counts more than that one is idle.
        is_online = idle_ms < IDLE_MS and any(
            client.idle_since_ms is None or self.last_active_ms > client.idle_since_ms
            for client in self.clients.values()
        )
        if not is_online:
            return Seen("unavailable", currently_active=False)
        return Seen("online", idle_ms < ACTIVE_MS)

    def next_look_ms(self, now_ms: int) -> int | None:
        """Return when time alone may change what the user is."""
        moments = [client.until_ms for client in self.clients.values() if client.syncs == 0]
        moments += [self.last_active_ms + ACTIVE_MS, self.last_active_ms + IDLE_MS]
        return min((moment for moment in moments if moment > now_ms), default=None)


class PresenceSessions:
    """The users with clients at this node, and which of them are not what they were."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: dict[UserID, _Session] = {}
        self._changed: set[UserID] = set()
        self._suspects: set[UserID] = set()
        # (moment, user), the earliest first; those that are out of date do no harm.
        self._due: list[tuple[int, UserID]] = []

    def __contains__(self, user_id: object) -> bool:
        return user_id in self._sessions

    def begin_sync(self, user_id: UserID, device: str, connected: Connected) -> None:
        """Take a client as connected, in the state that it says, until `end_sync` and a grace."""
        now_ms = self._clock.now_ms()
        session = self._sessions.setdefault(user_id, _Session())
        was_away = session.look(now_ms) is None
        client = session.clients.setdefault(device, _Client())
        if connected == "unavailable":
            if client.idle_since_ms is None:
                client.idle_since_ms = now_ms
        elif was_away or client.idle_since_ms is not None:
            # Coming, and coming back, is something that a user does; going on to sync is not.
            client.idle_since_ms = None
            session.last_active_ms = now_ms
        client.syncs += 1
        self._look(user_id, session)

    def end_sync(self, user_id: UserID, device: str) -> None:
        """Take a client as connected for a grace only."""
        session = self._sessions.get(user_id)
        client = None if session is None else session.clients.get(device)
        if session is None or client is None or client.syncs == 0:
            return  # The account was locked in the meantime.
        client.syncs -= 1
        client.until_ms = self._clock.now_ms() + GRACE_MS
        self._look_at(user_id, session, client.until_ms)

    def choose(self, user_id: UserID, device: str) -> None:
        """Take a client as connected for a grace: its user has said something by hand."""
        now_ms = self._clock.now_ms()
        session = self._sessions.setdefault(user_id, _Session())
        client = session.clients.setdefault(device, _Client())
        client.until_ms = now_ms + GRACE_MS
        client.idle_since_ms = None
        session.last_active_ms = now_ms
        self._look(user_id, session)

    def drop(self, user_id: UserID) -> None:
        """Take all clients of a user as gone."""
        session = self._sessions.get(user_id)
        if session is not None:
            session.clients.clear()
            self._look(user_id, session)

    def take(self, entries: Sequence[LogEntry]) -> None:
        """Follow the log: what users do shows there, on whichever node they do it."""
        if not self._sessions:
            return
        for entry in entries:
            if isinstance(entry, PresenceEntry):
                session = self._sessions.get(entry.user_id)
                if session is not None:
                    self.told(entry.user_id, entry.state.presence)
                    self._active(entry.user_id, session, entry.state.last_active_ts)
            elif isinstance(entry, UserEntry):
                if entry.kind == ACCOUNT_CHANGED and entry.user_id in self._sessions:
                    self._suspects.add(UserID(entry.user_id))
                elif entry.kind == PROFILE_CHANGED:
                    self._profile_changed(UserID(entry.user_id))
            elif (user_id := active_user_of(entry)) is not None:
                session = self._sessions.get(UserID(user_id))
                if session is not None:
                    if session.told_unavailable:
                        # Perhaps by choice, of which this is the end.
                        self._changed.add(UserID(user_id))
                    self._active(UserID(user_id), session, self._clock.now_ms())

    def changes(self) -> list[SeenChange]:
        """Return who is not what was returned last; who is given back to `failed` is again."""
        now_ms = self._clock.now_ms()
        while self._due and self._due[0][0] <= now_ms:
            moment, user_id = heapq.heappop(self._due)
            session = self._sessions.get(user_id)
            if session is not None and session.due_ms == moment:
                session.due_ms = None
                self._look(user_id, session)
        changed, self._changed = self._changed, set()
        return [self._taken(user_id, now_ms) for user_id in sorted(changed)]

    def take_suspects(self) -> set[UserID]:
        """Return, once, the users whose accounts have changed: perhaps they were suspended."""
        suspects, self._suspects = self._suspects, set()
        return suspects

    def changes_of(self, user_id: UserID) -> list[SeenChange]:
        """Return the change of one user, if there is one, as `changes` does."""
        if user_id not in self._changed:
            return []
        self._changed.discard(user_id)
        return [self._taken(user_id, self._clock.now_ms())]

    def failed(self, changes: Iterable[SeenChange]) -> None:
        """Take back what could not be written."""
        for change in changes:
            session = self._sessions.setdefault(change.user_id, _Session())
            session.is_profile_new |= change.is_profile_new
            self._changed.add(change.user_id)

    def told(self, user_id: UserID, presence: str) -> None:
        """Learn what others are told of a user after all."""
        session = self._sessions.get(user_id)
        if session is not None:
            session.told_unavailable = presence == "unavailable"

    def rewrite(self) -> None:
        """Return everybody as changed: what was written is gone."""
        self._changed.update(self._sessions)

    def _active(self, user_id: UserID, session: _Session, ts: int) -> None:
        if ts > session.last_active_ms:
            session.last_active_ms = ts
            self._look(user_id, session)

    def _profile_changed(self, user_id: UserID) -> None:
        session = self._sessions.get(user_id)
        if session is not None:
            session.is_profile_new = True
            self._changed.add(user_id)

    def _look(self, user_id: UserID, session: _Session) -> None:
        now_ms = self._clock.now_ms()
        if session.look(now_ms) != session.was:
            self._changed.add(user_id)
        elif session.was is None and user_id not in self._changed:
            del self._sessions[user_id]
            return
        moment = session.next_look_ms(now_ms)
        if moment is not None:
            self._look_at(user_id, session, moment)

    def _look_at(self, user_id: UserID, session: _Session, moment: int) -> None:
        if session.due_ms is None or moment < session.due_ms:
            session.due_ms = moment
            heapq.heappush(self._due, (moment, user_id))

    def _taken(self, user_id: UserID, now_ms: int) -> SeenChange:
        session = self._sessions[user_id]
        seen = session.look(now_ms)
        change = SeenChange(user_id, seen, session.last_active_ms, session.is_profile_new)
        session.was, session.is_profile_new = seen, False
        if seen is None:
            del self._sessions[user_id]
        return change
