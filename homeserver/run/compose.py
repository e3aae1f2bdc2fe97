"""The composition root: everything of a node, put together and started.

Dependencies are constructor arguments, written out here and in the `*_layer` modules.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Final

import msgspec

from client_api.routes.sync import SyncRoutes
from homeserver.config.model import Config
from homeserver.protocol.identifiers import ServerName
from homeserver.rooms.local_only import NoPeers
from homeserver.run.account_data_routes import account_data_routes
from homeserver.run.account_layer import AccountLayer, account_layer, account_routes
from homeserver.run.followers import followers_of
from homeserver.run.foundation import Foundation, foundation
from homeserver.run.health import HealthRoutes
from homeserver.run.reading_routes import reading_routes
from homeserver.run.room_layer import RoomLayer, room_layer
from homeserver.run.room_routes import room_routes
from homeserver.run.secret_files import load_signing_key
from homeserver.run.sync_layer import sync_layer
from homeserver.services.filters import Filters
from homeserver.services.profiles import Profiles
from homeserver.storage import log as log_table
from homeserver.storage.database import DatabaseUnavailable
from homeserver.telemetry.clock import Clock, SystemClock
from homeserver.telemetry.log import configure_logging, get_logger
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.shutdown import Shutdown
from homeserver.telemetry.trace import tracer_of
from homeserver.web.authentication import Authentication
from homeserver.web.authenticators import NoServerSignatures
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
    async with foundation(config, clock=clock, metrics=metrics, shutdown=shutdown) as base:
        rate_limiter = RateLimiter(clock, metrics, config.rate_limits)
        accounts = account_layer(base, rate_limiter)
        peers = NoPeers()
        profiles = Profiles(base.database, base.log_writer, peers, ServerName(config.server.name))
        rooms = room_layer(base, signing_key, profiles=profiles, peers=peers, directories=peers)
        filters = Filters(base.database)
        routes: list[object] = [
            *account_routes(base, accounts, rooms, profiles),
            *room_routes(base, rooms, filters),
            *account_data_routes(base),
            *reading_routes(base, rooms),
            SyncRoutes(sync_layer(base, rooms), filters),
            HealthRoutes(metrics, {"database": lambda: _is_database_there(base)}, shutdown),
        ]
        dispatch = Dispatch(
            _with_listing(routes),
            authentication=Authentication(accounts.access_tokens, NoServerSignatures()),
            rate_limiter=rate_limiter,
            clock=clock,
            metrics=metrics,
            tracer=tracer,
            settings=DispatchSettings(
                cors=Cors(allowed_origins=config.cors.allowed_origins),
                request_id_prefix=secrets.token_hex(_NODE_ID_BYTES),
            ),
        )
        http = HttpServer(dispatch, config.listeners, shutdown)
        followers = followers_of(base, rooms)
        addresses = await http.start()
        try:
            await followers.start()
            yield RunningServer(addresses=addresses, base=base, rooms=rooms, accounts=accounts)
        finally:
            shutdown.begin()
            base.notifier.wake_all()
            await http.drain()
            await followers.stop()
            await accounts.last_seen.write()
            await accounts.http.close()
            await asyncio.to_thread(tracer.stop)


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
