"""What the server says to its users, in one room with each.

Notices are queued in PostgreSQL and sent in the background, by whichever node comes first; a
node that dies loses none. Spec: client-server-api/#server-notices
"""

from collections.abc import Sequence
from typing import Final, NoReturn

import msgspec

from homeserver.config.sections.server_notices import ServerNoticesSection
from homeserver.errors import Exclusive, MatrixError, NotFound
from homeserver.protocol.canonical_json import encode_canonical
from homeserver.protocol.errors import ProtocolError
from homeserver.protocol.identifiers import RoomID, ServerName, UserID, user_id
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.create import CreateRoom, NewRoom
from homeserver.rooms.membership import Memberships
from homeserver.rooms.presets import StateDraft
from homeserver.rooms.send import SendEvent
from homeserver.services.profile_fields import AVATAR_URL, DISPLAY_NAME
from homeserver.services.tags import Tags
from homeserver.storage import accounts, memberships, profiles, server_notices
from homeserver.storage.accounts import NewAccountRow
from homeserver.storage.database import Database, Transaction
from homeserver.storage.server_notices import DueNotice
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks
from homeserver.web.requester import Requester

log = get_logger(__name__)

# `user_type` of the account: it tells it from a user who had the name before.
USER_TYPE: Final = "server_notices"
TAG: Final = "m.server_notice"
# The specification has no type for notices that are no usage limits.
NOTICE_TYPE: Final = "homeserver.notice"
_BATCH: Final = 20
_CLAIM_MS: Final = 60_000
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(JsonObject).decode


class ServerNotices:
    """Sends notices in the name of an account of the server's own."""

    def __init__(
        self,
        settings: ServerNoticesSection,
        database: Database,
        create: CreateRoom,
        changes: Memberships,
        send: SendEvent,
        tags: Tags,
        tasks: Tasks,
        clock: Clock,
        server_name: ServerName,
        *,
        room_version: str,
    ) -> None:
        self._settings = settings
        self._database = database
        self._create = create
        self._changes = changes
        self._send = send
        self._tags = tags
        self._tasks = tasks
        self._clock = clock
        self._server_name = server_name
        self._room_version = room_version

    async def notify(self, user_ids: Sequence[UserID], text: str) -> int:
        """Queue a notice for some users and return how many they are.

        Raises NotFound: one of them has no active account, then nobody gets it, or there are no
        notices here; Exclusive: the account belongs to somebody else.
        """
        await self._begin()
        wanted = list(dict.fromkeys(user_ids))

        async def work(tx: Transaction) -> int:
            reached = await server_notices.add(tx, wanted, _notice(text))
            missing = sorted(set(wanted) - set(reached))
            if missing:
                raise NotFound(f"No active account of this server: {', '.join(missing)}")
            return len(reached)

        count = await self._database.run_transaction(work, "queue_notices")
        self._tasks.spawn("server notices", self.deliver())
        return count

    async def notify_all(self, text: str) -> int:
        """Queue a notice for everybody; guests and bridged users left out. Raises like `notify`."""
        sender = await self._begin()
        async with self._database.connection("queue_notices") as connection:
            count = await server_notices.add_for_all(connection, sender, _notice(text))
        self._tasks.spawn("server notices", self.deliver())
        return count

    async def deliver(self) -> None:
        """Send all notices that are due; to be called now and then."""
        while batch := await self._claim():
            for notice in batch:
                await self._deliver(notice)

    async def _claim(self) -> list[DueNotice]:
        now_ms = self._clock.now_ms()
        async with self._database.connection("claim_notices") as connection:
            return await server_notices.claim(connection, now_ms, now_ms + _CLAIM_MS, _BATCH)

    async def _deliver(self, notice: DueNotice) -> None:
        requester = Requester(user_id=self._sender(), is_rate_limited=False)
        try:
            room_id = await self._room(requester, notice.user_id)
            # Once per number, even if this node or another has sent it and died after that.
            txn_id = f"notice {notice.notice_nid}"
            await self._send.message(
                requester, room_id, "m.room.message", txn_id, _decode(notice.content)
            )
        except (MatrixError, ProtocolError) as error:
            log.error("notice could not be sent", user_id=notice.user_id, error=str(error))
        async with self._database.connection("sent_notice") as connection:
            await server_notices.delete(connection, notice.notice_nid)

    async def _room(self, requester: Requester, target: UserID) -> RoomID:
        """Return the room of a user, who is in it or invited."""
        async with self._database.transaction("notice_room") as tx:
            await server_notices.lock_user(tx, target)
            room_id = await server_notices.room_of(tx, target)
            if room_id is None:
                # A node may have died between making the room and recording it.
                room_id = await server_notices.room_invited_to(tx, target, requester.user_id)
                if room_id is None:
                    room_id = await self._make_room(requester, target)
                await server_notices.set_room(tx, target, room_id)
            row = await memberships.membership_of(tx, target, room_id)
        if row is None or row.membership not in ("join", "invite"):
            await self._changes.invite(requester, room_id, target)
        await self._tags.put(target, room_id, TAG, {})
        return room_id

    async def _make_room(self, requester: Requester, target: UserID) -> RoomID:
        avatar_url = self._settings.avatar_url
        avatar = () if avatar_url is None else (StateDraft("m.room.avatar", {"url": avatar_url}),)
        return await self._create.create(
            requester,
            NewRoom(
                preset="private_chat",
                room_version=self._room_version,
                name=self._settings.room_name,
                invite=(target,),
                initial_state=avatar,
                # The user reads here; nobody else is let in.
                power_level_content_override={"users_default": -10, "invite": 100},
            ),
        )

    async def _begin(self) -> UserID:
        """Make the account, or bring its profile up to date. Raises NotFound, Exclusive."""
        sender = self._sender()
        now_ms = self._clock.now_ms()

        async def work(tx: Transaction) -> None:
            await accounts.insert(tx, NewAccountRow(sender, now_ms, user_type=USER_TYPE))
            account = await accounts.lock_account(tx, sender)
            if account is None or account.user_type != USER_TYPE:
                _refuse(sender)
            name = encode_canonical(self._settings.display_name)
            await profiles.put(tx, sender, DISPLAY_NAME, name)
            if self._settings.avatar_url is not None:
                avatar_url = encode_canonical(self._settings.avatar_url)
                await profiles.put(tx, sender, AVATAR_URL, avatar_url)

        await self._database.run_transaction(work, "notices_account")
        return sender

    def _sender(self) -> UserID:
        if self._settings.localpart is None:
            raise NotFound("There are no notices: server_notices.localpart is not set")
        return user_id(self._settings.localpart, self._server_name)


def _refuse(sender: UserID) -> NoReturn:
    raise Exclusive(f"{sender} is somebody's account: set another server_notices.localpart")


def _notice(text: str) -> bytes:
    return _encode({"msgtype": TAG, "server_notice_type": NOTICE_TYPE, "body": text})
