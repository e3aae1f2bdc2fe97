"""A node without HTTP: rooms and /sync over a real database, driven by method calls."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from client_api.sync.request import StateKeyName, SyncRequest
from client_api.sync.sync import Sync
from homeserver.config.model import Config
from homeserver.config.sections.database import DatabaseSection
from homeserver.config.sections.server import ServerSection
from homeserver.config.values import Secret
from homeserver.ports import MemberProfiles
from homeserver.protocol.filters import CompiledFilter, parse_filter
from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.sync_token import parse_sync_token
from homeserver.rooms.local_only import NoPeers
from homeserver.run.foundation import Foundation, foundation
from homeserver.run.keys_layer import KeysLayer, keys_layer
from homeserver.run.reading_routes import receipts_of
from homeserver.run.room_layer import RoomLayer, room_layer
from homeserver.run.room_writing import room_writing
from homeserver.run.secret_files import load_signing_key
from homeserver.run.sync_layer import sync_layer
from homeserver.services.receipts import Receipts
from homeserver.telemetry.clock import SystemClock
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.shutdown import Shutdown
from homeserver.web.requester import Requester


class Localparts:
    """Everybody's display name is the localpart."""

    async def member_fields(self, user_id: UserID) -> JsonObject:
        return {"displayname": user_id[1:].split(":")[0]}


class Node(msgspec.Struct):
    """The parts that tests call."""

    base: Foundation
    rooms: RoomLayer
    sync: Sync
    receipts: Receipts
    keys: KeysLayer

    async def syncs(
        self,
        requester: Requester,
        since: str | None = None,
        *,
        chosen: JsonObject | None = None,
        full_state: bool = False,
        state_key: StateKeyName = "state",
        timeout_ms: int = 0,
    ) -> dict[str, Any]:
        """Return the answer of /sync."""
        token = None if since is None else parse_sync_token(since)
        answer = await self.sync.answer(
            SyncRequest(
                requester=requester,
                filter=CompiledFilter(parse_filter(chosen or {})),
                since=None if token is None else token.position,
                typing_told={} if token is None else dict(token.typing),
                to_device_since=None if token is None else token.to_device,
                full_state=full_state,
                state_key=state_key,
                timeout_ms=timeout_ms,
            )
        )
        decoded: dict[str, Any] = json.loads(answer)
        return decoded


def user(name: str) -> Requester:
    """Return a local user with one device."""
    return Requester(user_id=UserID(f"@{name}:localhost"), device_id=DeviceID(name.upper()))


@contextlib.asynccontextmanager
async def running_node(
    dsn: str, folder: Path, *, profiles: MemberProfiles | None = None
) -> AsyncIterator[Node]:
    """Start a node over a database; several nodes may share one."""
    profiles = profiles or Localparts()
    config = Config(
        server=ServerSection(name="localhost", data_dir=folder),
        database=DatabaseSection(dsn=Secret(dsn)),
    )
    key = load_signing_key(config.signing_key_path)
    async with foundation(
        config, clock=SystemClock(), metrics=Metrics(), shutdown=Shutdown()
    ) as base:
        peers = NoPeers()
        rooms = room_layer(
            base, room_writing(base, key), profiles=profiles, peers=peers, directories=peers
        )
        keys = keys_layer(base, peers)
        yield Node(base, rooms, sync_layer(base, rooms, keys), receipts_of(base, rooms), keys)
