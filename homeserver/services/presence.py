"""Presence: who is online. Spec: client-server-api/#presence

Who may see whose: users who share a room, and everybody their own.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from homeserver.config.sections.presence import PresenceSection
from homeserver.errors import Forbidden, NotFound, UserSuspended
from homeserver.protocol import edu
from homeserver.protocol.identifiers import ServerName, UserID, server_name_of
from homeserver.services.presence_news import PresenceNews
from homeserver.services.presence_remote import RemotePresence
from homeserver.services.presence_rules import Choice, PresenceName
from homeserver.services.presence_sessions import PresenceSessions
from homeserver.services.presence_writer import PresenceWriter
from homeserver.storage import presence
from homeserver.storage.database import Database
from homeserver.streams.tail import Tail
from homeserver.telemetry.clock import Clock
from homeserver.web.requester import Requester


class Status(NamedTuple):
    """What a user is; `last_active_ago` is in ms, None: never seen."""

    presence: str
    last_active_ago: int | None
    status_msg: str | None
    currently_active: bool


class Presence:
    """Takes what users and their clients tell of their presence, and tells it of one user."""

    def __init__(
        self,
        database: Database,
        tail: Tail,
        sessions: PresenceSessions,
        writer: PresenceWriter,
        remote: RemotePresence,
        news: PresenceNews,
        clock: Clock,
        section: PresenceSection,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._tail = tail
        self._sessions = sessions
        self._writer = writer
        self._remote = remote
        self._news = news
        self._clock = clock
        self._section = section
        self._server_name = server_name

    @contextlib.contextmanager
    def connected(self, requester: Requester, set_presence: PresenceName) -> Iterator[None]:
        """Take the client as connected to an event stream during the block, and a grace after.

        With "offline" it is not marked as anything; suspended users are offline.
        """
        is_marked = self._section.enabled and not requester.is_suspended
        if set_presence == "offline" or not is_marked:
            yield
            return
        user_id, device = requester.user_id, requester.device_id or ""
        self._sessions.begin_sync(user_id, device, set_presence)
        try:
            yield
        finally:
            self._sessions.end_sync(user_id, device)

    async def set(
        self, requester: Requester, presence_name: PresenceName, status_msg: str | None
    ) -> None:
        """Set what the requester wants to be; `status_msg` None leaves it, '' removes it.

        The next sync of the user on this node has it. Raises Forbidden, UserSuspended.
        """
        if not self._section.enabled:
            raise Forbidden("This server keeps no presence")
        if requester.is_suspended:
            raise UserSuspended
        choice = Choice(presence_name, status_msg, self._clock.now_ms())
        device = requester.device_id or ""
        position = await self._writer.choose(requester.user_id, device, choice)
        if position is not None:
            await self._tail.reach(position)

    async def status_of(self, viewer: UserID, user_id: UserID) -> Status:
        """Return a user's presence as it is now, as far as others have been told.

        Raises NotFound: nothing is known; Forbidden: they share no room, or there is no such user.
        """
        if not self._section.enabled:
            raise NotFound("This server keeps no presence")
        async with self._database.connection("presence") as connection:
            if viewer != user_id and not await presence.share_room(connection, viewer, user_id):
                raise Forbidden("You are not allowed to see their presence")
            state = await presence.state_of(connection, user_id)
        if state is not None:
            ago = self._news.last_active_ago_ms(state)
            return Status(state.presence, ago, state.status_msg, state.currently_active)
        if server_name_of(user_id) != self._server_name:
            raise NotFound("There is no presence state for this user")
        return Status("offline", None, None, currently_active=False)

    async def receive(self, origin: ServerName, updates: Iterable[edu.PresenceUpdate]) -> None:
        """Take what another server says of its users, as far as they are in rooms known here."""
        if self._section.enabled:
            await self._remote.receive(origin, updates)
