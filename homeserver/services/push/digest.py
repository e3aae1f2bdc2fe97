"""Mails about messages that have been unread for a while."""

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple
from urllib.parse import quote

from homeserver.protocol.identifiers import RoomID, ServerName, UserID
from homeserver.services.mail import Mail, Message
from homeserver.services.push.notification import content_of, display_name_of, room_name_of
from homeserver.storage import push_queue, pushers, third_party_ids
from homeserver.storage.database import Database, Transaction
from homeserver.storage.push_queue import PushedEvent
from homeserver.storage.pushers import PusherRow
from homeserver.streams.personal_rules import PersonalRuleIndex
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.metrics import Metrics

# What a person reads of it; the rest is counted.
MAX_ROOMS: Final = 10
MAX_MESSAGES: Final = 5
MAX_TEXT: Final = 300
# A mail tells of this many at the most; the oldest are left out.
_MAX_EVENTS: Final = 200
_UNSUBSCRIBE_PATH: Final = "_matrix/client/unstable/org.homeserver/pushers/unsubscribe"


class DigestMessage(NamedTuple):
    """A message as the mail shows it."""

    sender: str
    text: str


class DigestRoom(NamedTuple):
    """A room as the mail shows it; `more`: messages that are not shown."""

    name: str
    link: str
    messages: list[DigestMessage]
    more: int


class EmailDigests:
    """Writes what waits for an e-mail pusher into one mail."""

    def __init__(
        self,
        database: Database,
        mail: Mail,
        personal_rules: PersonalRuleIndex,
        clock: Clock,
        metrics: Metrics,
        server_name: ServerName,
        *,
        base_url: str,
        interval_ms: int,
    ) -> None:
        """`base_url`: where browsers reach this server, with a slash at the end."""
        self._database = database
        self._mail = mail
        self._personal_rules = personal_rules
        self._clock = clock
        self._metrics = metrics
        self._server_name = server_name
        self._base_url = base_url
        self._interval_ms = interval_ms

    async def send(self, pusher: PusherRow) -> None:
        """Take all that waits for a pusher out of its queue, by mail where it is unread.

        A pusher whose address the account has no more is deleted.
        """

        personal = await self._personal_rules.of_user(pusher.user_id)
        ignored = frozenset[UserID]() if personal is None else personal.ignored

        async def work(tx: Transaction) -> bool:
            return await self._send(tx, pusher, ignored)

        if await self._database.run_transaction(work, "push_digest"):
            self._mail.wake()
            self._metrics.push_seconds.labels(pusher.kind, "delivered").observe(0)

    async def _send(self, tx: Transaction, pusher: PusherRow, ignored: Collection[UserID]) -> bool:
        owner = await third_party_ids.user_of(tx, "email", pusher.pushkey)
        if owner != pusher.user_id or not self._mail.is_configured:
            await pushers.delete_by_nid(tx, pusher.pusher_nid)
            return False
        waiting = await push_queue.waiting(tx, pusher.pusher_nid, ignored, _MAX_EVENTS)
        await push_queue.forget(tx, pusher.pusher_nid, [row.pos for row in waiting])
        unread = [row for row in waiting if row.event_nid is not None and not row.is_moot]
        found = await push_queue.pushed_events(tx, pusher.user_id, unread)
        events = [found[row.pos] for row in unread if row.pos in found]
        if not events:
            return False
        await self._mail.put(tx, self._message(pusher, events))
        next_ts = self._clock.now_ms() + self._interval_ms
        await push_queue.postpone(tx, pusher.pusher_nid, 0, next_ts)
        return True

    def _message(self, pusher: PusherRow, events: list[PushedEvent]) -> Message:
        unsubscribe = (
            f"{self._base_url}{_UNSUBSCRIBE_PATH}?token={quote(pusher.unsubscribe_token or '')}"
        )
        rooms = _rooms_of(events)
        values = {
            "server_name": self._server_name,
            "user_id": pusher.user_id,
            "count": len(events),
            "rooms": rooms[:MAX_ROOMS],
            "more_rooms": max(0, len(rooms) - MAX_ROOMS),
            "unsubscribe": unsubscribe,
        }
        text = self._mail.templates.render("push", values)
        return Message(
            to=pusher.pushkey,
            subject=text.subject,
            text=text.text,
            html=text.html,
            headers={
                "List-Unsubscribe": f"<{unsubscribe}>",
                # RFC 8058: a mail program ends it with one click.
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            },
        )


def _rooms_of(events: Iterable[PushedEvent]) -> list[DigestRoom]:
    by_room: dict[RoomID, list[PushedEvent]] = {}
    for event in events:
        by_room.setdefault(event.room_id, []).append(event)
    return [
        DigestRoom(
            _shortened(room_name_of(told[-1]) or display_name_of(told[-1])),
            f"https://matrix.to/#/{quote(room_id)}",
            [
                DigestMessage(_shortened(display_name_of(e)), _text_of(e))
                for e in told[-MAX_MESSAGES:]
            ],
            max(0, len(told) - MAX_MESSAGES),
        )
        for room_id, told in by_room.items()
    ]


def _text_of(event: PushedEvent) -> str:
    if event.type == "m.room.member":
        return "invites you"
    if event.type == "m.room.encrypted":
        return "(an encrypted message)"
    if event.type == "m.call.invite":
        return "(a call)"
    body = content_of(event).get("body")
    return _shortened(body) if isinstance(body, str) and body else "(a message)"


def _shortened(text: str) -> str:
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain if len(plain) <= MAX_TEXT else f"{plain[:MAX_TEXT]}…"
