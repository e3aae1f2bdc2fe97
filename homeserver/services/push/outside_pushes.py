"""Notifications of invites into rooms that this server is not in, which are no events here."""

from typing import Final, NamedTuple

import msgspec

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.push_rules.evaluate import Outcome
from homeserver.services.push.outcomes import PushOutcomes
from homeserver.storage import outside_invites
from homeserver.storage.database import Database
from homeserver.storage.outside_invites import OutsideInvite
from homeserver.storage.push_queue import OUTSIDE_INVITE, EventPush
from homeserver.streams.entries import UserEntry

_decode: Final = msgspec.json.Decoder(dict).decode
_encode: Final = msgspec.json.Encoder().encode


class ToldInvite(NamedTuple):
    """An invite from outside that notifies the invited, and how."""

    invite: OutsideInvite
    outcome: Outcome

    @property
    def pos(self) -> int:
        """The position of the invite in the log."""
        return self.invite.pos


class OutsidePushes:
    """Finds out which invites from outside notify, and which events are such an invite again."""

    def __init__(self, database: Database, outcomes: PushOutcomes) -> None:
        self._database = database
        self._outcomes = outcomes

    async def pushes_of(self, entry: UserEntry) -> list[EventPush]:
        """Return the notification of an entry of the log; none if the invite is not open."""
        place = UserID(entry.user_id), entry.pos
        async with self._database.connection("outside_invites") as connection:
            found = await outside_invites.at(connection, [place])
        invite = found.get(place)
        if invite is None:
            return []
        outcome = await self._outcomes.of_stranger(_event_of(invite), invite.user_id)
        if not outcome.notify:
            return []
        tweaks = _encode(outcome.tweaks)
        return [EventPush(invite.user_id, invite.pos, OUTSIDE_INVITE, outcome.highlight, tweaks)]

    async def has_told(self, invited: UserID, room_nid: int, event_id: EventID) -> bool:
        """Whether an invite came from outside before it came as an event of the room."""
        async with self._database.connection("outside_invites") as connection:
            return await outside_invites.is_known(connection, invited, room_nid, event_id)

    async def open_ones(self, user_id: UserID, before: int) -> list[ToldInvite]:
        """Return the open invites of a user that notify, from before a position, newest first."""
        async with self._database.connection("outside_invites") as connection:
            found = await outside_invites.of_user(connection, user_id, before)
        told = []
        for invite in found:
            # One after the other, because the user's rules are in memory.
            outcome = await self._outcomes.of_stranger(_event_of(invite), user_id)
            if outcome.notify:
                told.append(ToldInvite(invite, outcome))
        return told


def _event_of(invite: OutsideInvite) -> Event:
    core: JsonObject = _decode(invite.core)
    return Event(
        event_id=invite.event_id,
        room_id=invite.room_id,
        room_version=invite.room_version,
        type=core["type"],
        sender=invite.sender,
        content=core["content"],
        origin_server_ts=invite.origin_server_ts,
        depth=0,
        prev_events=(),
        auth_events=(),
        pdu=core,
        state_key=invite.user_id,
    )
