"""The composition root: everything of a node, put together and started.

Dependencies are constructor arguments, written out here and in the `*_layer` modules.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Final

import msgspec

from client_api.routes.presence import PresenceRoutes
from client_api.routes.sync import SyncRoutes
from homeserver.config.model import Config
from homeserver.protocol.identifiers import ServerName
from homeserver.rooms.local_only import NoEventPeers, NoPeers
from homeserver.run.account_data_routes import account_data_routes
from homeserver.run.account_layer import AccountLayer, account_layer, account_routes
from homeserver.run.address_layer import third_party_invites
from homeserver.run.federation_layer import (
    FederationLayer,
    federation_layer,
    federation_routes,
)
from homeserver.run.followers import followers_of
from homeserver.run.foundation import Foundation, foundation
from homeserver.run.health import HealthRoutes
from homeserver.run.key_backup_routes import key_backup_routes
from homeserver.run.keys_layer import keys_layer
from homeserver.run.moderation_routes import moderation_routes
from homeserver.run.presence_layer import PresenceLayer, presence_layer
from homeserver.run.reading_routes import reading_routes
from homeserver.run.receive_layer import ReceiveLayer, receive_layer
from homeserver.run.room_layer import RoomLayer, room_layer
from homeserver.run.room_routes import room_routes
from homeserver.run.search_routes import search_routes
from homeserver.run.secret_files import load_signing_key
from homeserver.run.sync_layer import sync_layer
from homeserver.run.to_device_layer import to_device_routes
from homeserver.services.filters import Filters
from homeserver.services.profiles import Profiles
from homeserver.storage import log as log_table
from homeserver.storage.database import DatabaseUnavailable
from homeserver.telemetry.clock import Clock, SystemClock
from homeserver.telemetry.log import configure_logging, get_logger
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.shutdown import Shutdown
from homeserver.telemetry.trace import Tracer, tracer_of
from homeserver.web.authentication import Authentication
from homeserver.web.cors import Cors
from homeserver.web.dispatch import Dispatch, DispatchSettings
from homeserver.web.endpoint import BoundEndpoint, bind
from homeserver.web.listing import ListingRoutes
from homeserver.web.rate_limit import RateLimiter
from homeserver.web.server import HttpServer

log = get_logger(__name__)

_NODE_ID_BYTES: Final = 3


class RunningServer(msgspec.Struct, frozen=True, kw_only=True):
    """A node that answers; its parts are for tests."""

    addresses: Sequence[str]
    base: Foundation
    rooms: RoomLayer
    accounts: AccountLayer
    federation: FederationLayer
    receiving: ReceiveLayer
    presence: PresenceLayer

    @property
    def url(self) -> str:
        """The first address."""
        return self.addresses[0]


async def serve(config: Config, *, ready: Callable[[Sequence[str]], None] | None = None) -> None:
    """Run a node until the task is cancelled; `ready` gets its addresses when it answers."""
    configure_logging(config.logging)
    async with running_server(config) as server:
        if ready is not None:
            ready(server.addresses)
        await server.base.shutdown.wait()


@contextlib.asynccontextmanager
async def running_server(
    config: Config, *, clock: Clock | None = None
) -> AsyncIterator[RunningServer]:
    """Start a node; at the end of the block it drains and stops."""
    clock = clock or SystemClock()
    metrics, shutdown, tracer = Metrics(), Shutdown(), tracer_of(config.tracing)
    signing_key = await asyncio.to_thread(load_signing_key, config.signing_key_path)
    async with (
        foundation(config, clock=clock, metrics=metrics, shutdown=shutdown) as base,
        federation_layer(base, signing_key, tracer) as federation,
    ):
        rate_limiter = RateLimiter(clock, metrics, config.rate_limits)
        accounts = account_layer(base, rate_limiter, signing_key)
        peers = NoPeers()
        profiles = Profiles(base.database, base.log_writer, peers, ServerName(config.server.name))
        rooms = room_layer(base, signing_key, profiles=profiles, peers=peers, directories=peers)
        receiving = receive_layer(base, rooms, NoEventPeers(), federation.event_signatures)
        filters = Filters(base.database)
        keys = keys_layer(base, peers)
        presence = presence_layer(base)
        invites = third_party_invites(
            base, rooms, accounts.addresses.servers, peers=peers, exchange=peers
        )
        routes: list[object] = [
            *account_routes(base, accounts, rooms, keys, profiles),
            *room_routes(base, rooms, invites, filters, presence),
            *account_data_routes(base),
            *reading_routes(base, rooms),
            *federation_routes(base, federation),
            *search_routes(base, rooms),
            *moderation_routes(base, accounts, rooms),
            *to_device_routes(base, accounts),
            *key_backup_routes(base),
            PresenceRoutes(presence.presence),
            SyncRoutes(
                sync_layer(base, rooms, keys, presence=presence.news), filters, presence.presence
            ),
            HealthRoutes(metrics, {"database": lambda: _is_database_there(base)}, shutdown),
        ]
        authentication = Authentication(accounts.access_tokens, federation.server_signatures)
        dispatch = _dispatch(base, routes, authentication, rate_limiter, tracer)
        http = HttpServer(dispatch, config.listeners, shutdown)
        followers = followers_of(base, rooms)
        addresses = await http.start()
        try:
            await followers.start()
            if config.federation.enabled:
                receiving.inbox.start()
            yield RunningServer(
                addresses=addresses,
                base=base,
                rooms=rooms,
                accounts=accounts,
                federation=federation,
                receiving=receiving,
                presence=presence,
            )
        finally:
            shutdown.begin()
            base.notifier.wake_all()
            await http.drain()
            await followers.stop()
            await accounts.last_seen.write()
            await accounts.http.close()
            await asyncio.to_thread(tracer.stop)


def _dispatch(
    base: Foundation,
    routes: Iterable[object],
    authentication: Authentication,
    rate_limiter: RateLimiter,
    tracer: Tracer,
) -> Dispatch:
    return Dispatch(
        _with_listing(routes),
        authentication=authentication,
        rate_limiter=rate_limiter,
        clock=base.clock,
        metrics=base.metrics,
        tracer=tracer,
        settings=DispatchSettings(
            cors=Cors(allowed_origins=base.config.cors.allowed_origins),
            request_id_prefix=secrets.token_hex(_NODE_ID_BYTES),
        ),
    )


def _with_listing(routes: Iterable[object]) -> list[BoundEndpoint]:
    endpoints = [bound for each in routes for bound in bind(each)]
    return [*endpoints, *bind(ListingRoutes(endpoints))]


async def _is_database_there(base: Foundation) -> bool:
    try:
        async with base.database.connection("readiness") as connection:
            await log_table.head(connection)
    except DatabaseUnavailable:
        return False
    return True
