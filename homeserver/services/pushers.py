"""Setting pushers. Spec: client-server-api/#post_matrixclientv3pushersset, MSC3881, MSC4174"""

import hashlib
import secrets
import uuid
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import msgspec

from homeserver.errors import InvalidParam, MatrixError, MissingParam, NotFound
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.third_party_ids import canonical_email
from homeserver.services.push import kinds
from homeserver.storage import pushers, third_party_ids
from homeserver.storage.database import Database, Transaction
from homeserver.storage.log import append_user_change
from homeserver.storage.pushers import PusherRow, PusherWrite
from homeserver.streams.entries import PUSHERS_CHANGED
from homeserver.streams.log_writer import LogWriter
from homeserver.telemetry.clock import Clock
from homeserver.web.requester import Requester

MAX_PUSHKEY_BYTES: Final = 512  # "Max length, 512 bytes"
MAX_APP_ID: Final = 64  # "Max length, 64 chars"
# Ours: names are shown to people, and data goes along with every notification.
MAX_NAME: Final = 255
MAX_DATA_BYTES: Final = 8 * 1024
# Every one of them costs a request for each message.
MAX_PUSHERS: Final = 50
ACK_LIFETIME_MS: Final = 5 * 60 * 1000  # MSC4174: "must expire the ack_token after 5 minutes"

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(dict).decode


class NewPusher(msgspec.Struct, frozen=True, kw_only=True):
    """What a client sets; None where it says nothing."""

    app_id: str
    pushkey: str
    kind: str
    app_display_name: str | None
    device_display_name: str | None
    lang: str | None
    content: JsonObject | None
    profile_tag: str | None = None
    append: bool = False
    is_enabled: bool | None = None


class Activation(NamedTuple):
    """A Web Push pusher that is to be told how to become active."""

    pusher_nid: int
    ack_token: str


class Pushers:
    """Sets and lists the pushers of users."""

    def __init__(
        self,
        database: Database,
        log_writer: LogWriter,
        clock: Clock,
        *,
        can_mail: bool,
        begin_activation: Callable[[Activation], Awaitable[None]],
    ) -> None:
        """`begin_activation` sends the token, in its own time."""
        self._database = database
        self._log_writer = log_writer
        self._clock = clock
        self._can_mail = can_mail
        self._begin_activation = begin_activation

    async def of_user(self, user_id: UserID) -> list[JsonObject]:
        """Return the pushers of a user as clients see them."""
        async with self._database.connection("pushers") as connection:
            rows = await pushers.of_user(connection, user_id)
        return [_as_json(row) for row in rows]

    async def delete(self, user_id: UserID, app_id: str, pushkey: str) -> None:
        """Delete a pusher, if there is one."""
        async with self._database.transaction("delete_pusher") as tx:
            await pushers.delete(tx, user_id, app_id, pushkey)

    async def put(self, requester: Requester, new: NewPusher) -> bool:
        """Set a pusher; True: it has to be activated first. Raises InvalidParam, MissingParam."""
        _check(new)
        if new.kind == kinds.EMAIL:
            new = await self._checked_email(requester.user_id, new)

        async def work(tx: Transaction) -> tuple[Activation | None, int]:
            return await self._set(tx, requester, new)

        activation, position = await self._database.run_transaction(work, "set_pusher")
        self._log_writer.announce(position)
        if activation is not None:
            await self._begin_activation(activation)
        return activation is not None

    async def acknowledge(self, user_id: UserID, app_id: str, ack_token: str) -> None:
        """Activate the pusher that got a token. Raises NotFound; MatrixError by MSC4174."""
        ack_hash = _hash(ack_token)
        async with self._database.connection("activate_pusher") as connection:
            known = await pushers.activations(connection, user_id, app_id)
            if not known:
                raise NotFound("There is no such pusher")
            for each in known:
                if each.ack_hash != ack_hash:
                    continue
                if (each.ack_expires_ts or 0) <= self._clock.now_ms():
                    raise MatrixError(410, "M_EXPIRED_ACTIVATION_TOKEN", "The token has expired")
                if await pushers.activate(connection, each.pusher_nid, ack_hash):
                    return
        raise MatrixError(400, "M_UNKNOWN_ACTIVATION_TOKEN", "This is not the token of a pusher")

    async def unsubscribe(self, token: str, *, confirmed: bool) -> str | None:
        """Return the address to which a link's mails go, and end them when that is confirmed.

        None: they have ended already.
        """
        async with self._database.connection("unsubscribe") as connection:
            row = await pushers.by_unsubscribe_token(connection, token) if token else None
            if row is None:
                return None
            if confirmed:
                await pushers.delete_by_nid(connection, row.pusher_nid)
        return row.pushkey

    async def _checked_email(self, user_id: UserID, new: NewPusher) -> NewPusher:
        if new.app_id != kinds.EMAIL_APP_ID:
            raise InvalidParam(f"The app_id of e-mail is {kinds.EMAIL_APP_ID}")
        if not self._can_mail:
            raise InvalidParam("This server sends no e-mail")
        try:
            address = canonical_email(new.pushkey)
        except InvalidIdentifier as error:
            raise InvalidParam("pushkey must be an e-mail address") from error
        async with self._database.connection("pushers") as connection:
            owner = await third_party_ids.user_of(connection, "email", address)
        if owner != user_id:
            raise InvalidParam("pushkey must be a verified address of the account")
        return msgspec.structs.replace(new, pushkey=address)

    async def _set(
        self, tx: Transaction, requester: Requester, new: NewPusher
    ) -> tuple[Activation | None, int]:
        user_id, now_ms = requester.user_id, self._clock.now_ms()
        present = await pushers.of_user(tx, user_id)
        row = next((p for p in present if (p.app_id, p.pushkey) == (new.app_id, new.pushkey)), None)
        if row is None and len(present) >= MAX_PUSHERS:
            raise InvalidParam(f"A user has at most {MAX_PUSHERS} pushers")
        if not new.append:
            await pushers.delete_of_others(tx, user_id, new.app_id, new.pushkey)
        ack_token = str(uuid.uuid4()) if _needs_activation(new, row) else None
        nid = await pushers.upsert(tx, _write(requester, new, row, ack_token, now_ms))
        position = await append_user_change(tx, user_id, PUSHERS_CHANGED)
        return None if ack_token is None else Activation(nid, ack_token), position


def _check(new: NewPusher) -> None:
    if not new.app_id or len(new.app_id) > MAX_APP_ID:
        raise InvalidParam(f"app_id must have 1 to {MAX_APP_ID} characters")
    if not new.pushkey or len(new.pushkey.encode()) > MAX_PUSHKEY_BYTES:
        raise InvalidParam(f"pushkey must have 1 to {MAX_PUSHKEY_BYTES} bytes")
    if new.kind not in (kinds.HTTP, kinds.EMAIL, *kinds.WEB_PUSH_KINDS):
        raise InvalidParam("kind must be http, email, webpush or null")
    named = {
        "app_display_name": new.app_display_name,
        "device_display_name": new.device_display_name,
        "lang": new.lang,
        "data": new.content,
    }
    missing = [name for name, value in named.items() if value is None]
    if missing:
        raise MissingParam(f"Missing parameters: {', '.join(missing)}")
    for name, value in {**named, "profile_tag": new.profile_tag}.items():
        if isinstance(value, str) and len(value) > MAX_NAME:
            raise InvalidParam(f"{name} may have {MAX_NAME} characters")
    content = new.content or {}
    if len(_encode(content)) > MAX_DATA_BYTES:
        raise InvalidParam(f"data may have {MAX_DATA_BYTES} bytes")
    if new.kind == kinds.HTTP:
        kinds.check_http(content)
    elif new.kind in kinds.WEB_PUSH_KINDS:
        kinds.check_web_push(new.pushkey, content)


def _needs_activation(new: NewPusher, row: PusherRow | None) -> bool:
    """Whether a Web Push pusher is new, has another address, or was never activated."""
    if new.kind not in kinds.WEB_PUSH_KINDS:
        return False
    if row is None or row.kind not in kinds.WEB_PUSH_KINDS or not row.is_activated:
        return True
    before, now = _decode(row.content), new.content or {}
    return (before.get("url"), before.get("auth")) != (now.get("url"), now.get("auth"))


def _write(
    requester: Requester,
    new: NewPusher,
    row: PusherRow | None,
    ack_token: str | None,
    now_ms: int,
) -> PusherWrite:
    content = {name: value for name, value in (new.content or {}).items() if name != "activated"}
    device_id: str | None = requester.device_id
    token_nid = requester.access_token_nid
    is_enabled = True if new.is_enabled is None else new.is_enabled
    if row is not None and new.is_enabled is not None and new.is_enabled != row.is_enabled:
        # Another session has switched it on or off, and does not take it over: MSC3881.
        device_id, token_nid = row.device_id, row.token_nid
    is_email = new.kind == kinds.EMAIL
    known_token = row.unsubscribe_token if row is not None else None
    return PusherWrite(
        user_id=requester.user_id,
        app_id=new.app_id,
        pushkey=new.pushkey,
        kind=new.kind,
        app_display_name=new.app_display_name or "",
        device_display_name=new.device_display_name or "",
        profile_tag=new.profile_tag,
        lang=new.lang or "",
        content=_encode(content),
        set_ts=now_ms,
        device_id=device_id,
        # A token with a device is exchanged for others, and goes with the device.
        token_nid=token_nid if device_id is None else None,
        is_enabled=is_enabled,
        is_activated=ack_token is None,
        ack_hash=None if ack_token is None else _hash(ack_token),
        ack_expires_ts=None if ack_token is None else now_ms + ACK_LIFETIME_MS,
        unsubscribe_token=(known_token or secrets.token_urlsafe(24)) if is_email else None,
    )


def _as_json(row: PusherRow) -> JsonObject:
    content = _decode(row.content)
    if row.kind in kinds.WEB_PUSH_KINDS:
        content["activated"] = row.is_activated
    shown: JsonObject = {
        "app_id": row.app_id,
        "pushkey": row.pushkey,
        "kind": row.kind,
        "app_display_name": row.app_display_name,
        "device_display_name": row.device_display_name,
        "lang": row.lang,
        "data": content,
        "org.matrix.msc3881.enabled": row.is_enabled,
    }
    if row.profile_tag is not None:
        shown["profile_tag"] = row.profile_tag
    if row.device_id is not None:
        shown["org.matrix.msc3881.device_id"] = row.device_id
    return shown


def _hash(ack_token: str) -> bytes:
    return hashlib.sha256(ack_token.encode(errors="surrogateescape")).digest()
