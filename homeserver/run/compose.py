"""The composition root: everything of a node, put together and started.

Dependencies are constructor arguments, written out here and in the `*_layer` modules.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Final

import msgspec

from federation.sending.sender import Sending
from homeserver.config.model import Config
from homeserver.run.account_layer import AccountLayer
from homeserver.run.federation_layer import (
    FederationLayer,
    federation_layer,
)
from homeserver.run.followers import followers_of
from homeserver.run.foundation import Foundation, foundation
from homeserver.run.media_layer import MediaLayer, media_layer, remote_media
from homeserver.run.media_lifecycle import add_media_follower, start_retention
from homeserver.run.parts import Parts, parts_of
from homeserver.run.presence_layer import PresenceLayer
from homeserver.run.push_layer import add_push_followers, web_push_key_of
from homeserver.run.receive_layer import ReceiveLayer
from homeserver.run.room_layer import RoomLayer
from homeserver.run.routes import routes_of
from homeserver.run.secret_files import load_signing_key
from homeserver.run.sending_layer import add_federation_followers, sending_of
from homeserver.streams.followers import Followers
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
from homeserver.web.server import HttpServer

log = get_logger(__name__)

_NODE_ID_BYTES: Final = 3


class RunningServer(msgspec.Struct, frozen=True, kw_only=True):
    """A node that answers; its parts are for tests."""

    addresses: Sequence[str]
    parts: Parts

    @property
    def url(self) -> str:
        """The first address."""
        return self.addresses[0]

    @property
    def base(self) -> Foundation:
        """What everything stands on."""
        return self.parts.base

    @property
    def rooms(self) -> RoomLayer:
        """The room server."""
        return self.parts.rooms

    @property
    def accounts(self) -> AccountLayer:
        """Accounts and sessions."""
        return self.parts.accounts

    @property
    def federation(self) -> FederationLayer:
        """The way to other servers."""
        return self.parts.federation

    @property
    def receiving(self) -> ReceiveLayer:
        """Events of other servers."""
        return self.parts.receiving

    @property
    def media(self) -> MediaLayer:
        """The media repository."""
        return self.parts.media

    @property
    def presence(self) -> PresenceLayer:
        """Who is there."""
        return self.parts.presence


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
    web_push_key = await asyncio.to_thread(web_push_key_of, config)
    async with (
        foundation(config, clock=clock, metrics=metrics, shutdown=shutdown) as base,
        federation_layer(base, signing_key, tracer) as federation,
        media_layer(base, remote_media(base, federation)) as media,
    ):
        parts = parts_of(base, signing_key, federation, media, web_push_key)
        dispatch = _dispatch(parts, tracer)
        http = HttpServer(dispatch, config.listeners, shutdown)
        followers = followers_of(base, parts.rooms)
        add_push_followers(followers, base, parts.rooms, parts.push)
        add_federation_followers(followers, parts)
        add_media_follower(followers, base)
        start_retention(base)
        sending = sending_of(parts)
        addresses = await http.start()
        try:
            await followers.start()
            if config.federation.enabled:
                parts.receiving.inbox.start()
                parts.memberships.completion.start()
                await sending.start()
            yield RunningServer(addresses=addresses, parts=parts)
        finally:
            await _stop(http, followers, sending, parts)
            await asyncio.to_thread(tracer.stop)


async def _stop(http: HttpServer, followers: Followers, sending: Sending, parts: Parts) -> None:
    parts.base.shutdown.begin()
    parts.base.notifier.wake_all()
    await http.drain()
    await sending.stop()
    await followers.stop()
    await parts.push.sender.stop()
    await parts.accounts.last_seen.write()
    await parts.accounts.http.close()
    await parts.accounts.single_sign_on.http.close()


def _dispatch(parts: Parts, tracer: Tracer) -> Dispatch:
    base = parts.base
    return Dispatch(
        _with_listing(routes_of(parts)),
        authentication=Authentication(
            parts.accounts.access_tokens, parts.federation.server_signatures
        ),
        rate_limiter=parts.rate_limiter,
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
