"""Talking with other servers, put together: the client, the keys, and who may talk."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from federation.authentication import SignedRequests
from federation.event_peers import FederationEvents
from federation.keys.event_signatures import EventSignatures
from federation.keys.fetch import KeyFetcher, TrustedServer
from federation.keys.key_ring import KeyRing
from federation.keys.notary import Notary
from federation.keys.own_keys import OwnKeys
from federation.policy import FederationPolicy
from federation.policy_signer import FederationPolicySigner
from federation.remote_directories import FederationDirectories
from federation.remote_keys import FederationKeys
from federation.remote_users import FederationUsers
from federation.routes.keys import KeyRoutes
from federation.routes.version import VersionRoutes
from federation.routes.well_known import ServerWellKnownRoutes
from federation.transport.client import FederationClient
from federation.transport.connections import Connections, tls_context
from federation.transport.destinations import Destinations
from federation.transport.dns import SystemDns
from federation.transport.server_names import ServerNames
from federation.transport.well_known import WellKnown
from homeserver.ports import PolicySigner, RemoteDirectories, RemoteKeys, RemoteUsers
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.signing import SigningKey
from homeserver.rooms.local_only import NoPeers
from homeserver.run.foundation import Foundation
from homeserver.telemetry.trace import Tracer
from homeserver.web.authenticators import NoServerSignatures, ServerSignatures
from homeserver.web.outgoing_http import AddressRules

_DAY_MS: Final = 24 * 60 * 60 * 1000


class FederationLayer(msgspec.Struct, frozen=True, kw_only=True):
    """What everything between servers stands on. All of it is there without federation too."""

    policy: FederationPolicy
    client: FederationClient
    destinations: Destinations
    own_keys: OwnKeys
    key_ring: KeyRing
    # The ports of the same name.
    event_signatures: EventSignatures
    event_peers: FederationEvents
    remote_users: RemoteUsers
    remote_directories: RemoteDirectories
    remote_keys: RemoteKeys
    policy_signer: PolicySigner
    notary: Notary
    server_signatures: ServerSignatures


@contextlib.asynccontextmanager
async def federation_layer(
    base: Foundation, signing_key: SigningKey, tracer: Tracer
) -> AsyncIterator[FederationLayer]:
    """Make the layer; its connections are closed at the end of the block.

    Raises OSError, ssl.SSLError: a file of `federation.ca_files` cannot be used.
    """
    settings = base.config.federation
    own_name = ServerName(base.config.server.name)
    policy = FederationPolicy(settings, own_name)
    destinations = Destinations(base.database, base.clock)
    connections = Connections(
        rules=AddressRules(settings.allowed_ip_ranges, settings.blocked_ip_ranges),
        tls=await asyncio.to_thread(tls_context, settings.ca_files),
    )
    dns = SystemDns()
    client = FederationClient(
        own_name=own_name,
        signing_key=signing_key,
        policy=policy,
        destinations=destinations,
        server_names=ServerNames(WellKnown(connections, base.clock, base.tasks), dns, base.clock),
        connections=connections,
        clock=base.clock,
        metrics=base.metrics,
        tracer=tracer,
    )
    own_keys = _own_keys(base, signing_key)
    ring = KeyRing(
        own_keys=own_keys,
        source=KeyFetcher(client, base.clock, _notaries(base)),
        database=base.database,
        clock=base.clock,
        tasks=base.tasks,
    )
    signed_requests = SignedRequests(
        own_name=own_name, policy=policy, ring=ring, destinations=destinations
    )
    try:
        yield FederationLayer(
            policy=policy,
            client=client,
            destinations=destinations,
            own_keys=own_keys,
            key_ring=ring,
            event_signatures=EventSignatures(ring),
            event_peers=FederationEvents(client),
            remote_users=FederationUsers(client) if settings.enabled else NoPeers(),
            remote_directories=FederationDirectories(client) if settings.enabled else NoPeers(),
            remote_keys=FederationKeys(client) if settings.enabled else NoPeers(),
            policy_signer=FederationPolicySigner(client) if settings.enabled else NoPeers(),
            notary=Notary(own_keys=own_keys, ring=ring, database=base.database, clock=base.clock),
            server_signatures=signed_requests if settings.enabled else NoServerSignatures(),
        )
    finally:
        await connections.close()
        await dns.close()


def federation_routes(base: Foundation, layer: FederationLayer) -> list[object]:
    """Return the objects whose endpoints answer other servers; none without federation."""
    if not base.config.federation.enabled:
        return []
    return [
        KeyRoutes(layer.own_keys, layer.notary, base.clock),
        VersionRoutes(),
        ServerWellKnownRoutes(base.config.federation.delegate_to),
    ]


def _own_keys(base: Foundation, signing_key: SigningKey) -> OwnKeys:
    settings = base.config.signing
    return OwnKeys(
        ServerName(base.config.server.name),
        signing_key,
        settings.old_verify_keys,
        base.clock,
        validity_ms=round(settings.validity_days * _DAY_MS),
    )


def _notaries(base: Foundation) -> list[TrustedServer]:
    return [
        TrustedServer(ServerName(each.server_name), each.verify_keys)
        for each in base.config.federation.trusted_key_servers
    ]
