"""E-mail, the addresses of users, and identity servers, put together."""

from typing import Final

import msgspec

from client_api.routes.address_validation import AddressValidationRoutes
from client_api.routes.third_party_ids import ThirdPartyIdRoutes
from federation.x_matrix import authorization_header
from homeserver.ports import InviteExchange, RoomPeers
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.signing import SigningKey
from homeserver.rooms.third_party_membership import ThirdPartyMembership
from homeserver.run.foundation import Foundation
from homeserver.run.room_layer import RoomLayer
from homeserver.services.confirmation_pages import ConfirmationPages
from homeserver.services.identity_bindings import IdentityBindings
from homeserver.services.identity_servers import IdentityServers
from homeserver.services.mail import Mail
from homeserver.services.pages import Pages
from homeserver.services.reauthentication import Reauthentication
from homeserver.services.registration import Registration
from homeserver.services.third_party_ids import ThirdPartyIds
from homeserver.services.third_party_invites import ThirdPartyInvites
from homeserver.services.validation_sessions import ValidationSessions
from homeserver.web.outgoing_http import OutgoingHttp
from homeserver.web.rate_limit import RateLimiter

# For mail that has to be tried again, or whose node has died.
_DELIVERY_SECONDS: Final = 5.0


class AddressLayer(msgspec.Struct, frozen=True, kw_only=True):
    """What the other layers and tests use of addresses."""

    mail: Mail
    validations: ValidationSessions
    servers: IdentityServers
    bindings: IdentityBindings


def address_layer(
    base: Foundation, rate_limiter: RateLimiter, signing_key: SigningKey, http: OutgoingHttp
) -> AddressLayer:
    """Put together what needs neither accounts nor rooms."""
    config = base.config
    server_name = ServerName(config.server.name)
    mail = Mail(config.email, base.database, base.tasks, base.clock)
    if mail.is_configured:
        base.tasks.every("mail", _DELIVERY_SECONDS, mail.deliver)
    servers = IdentityServers(
        http,
        config.third_party_ids.identity_servers,
        server_name,
        signing_key,
        authorization_header,
    )
    return AddressLayer(
        mail=mail,
        validations=ValidationSessions(
            config.third_party_ids,
            mail,
            base.database,
            rate_limiter,
            base.clock,
            server_name=server_name,
            base_url=config.public_base_url,
            lifetime_ms=config.email.link_lifetime_ms,
        ),
        servers=servers,
        bindings=IdentityBindings(servers, base.database),
    )


def third_party_ids_of(
    base: Foundation, addresses: AddressLayer, reauthentication: Reauthentication
) -> ThirdPartyIds:
    """Return the addresses of accounts."""
    return ThirdPartyIds(
        base.config.third_party_ids,
        reauthentication,
        addresses.validations,
        addresses.servers,
        addresses.bindings,
        base.database,
        base.clock,
    )


def address_routes(
    addresses: AddressLayer,
    third_party_ids: ThirdPartyIds,
    registration: Registration,
    pages: Pages,
) -> list[object]:
    """Return the objects whose endpoints are those of addresses."""
    confirmation = ConfirmationPages(addresses.validations, pages)
    return [
        ThirdPartyIdRoutes(third_party_ids, addresses.bindings),
        AddressValidationRoutes(addresses.validations, registration, confirmation),
    ]


def third_party_invites(
    base: Foundation,
    rooms: RoomLayer,
    servers: IdentityServers,
    *,
    peers: RoomPeers,
    exchange: InviteExchange,
) -> ThirdPartyInvites:
    """Return the invites by address."""
    server_name = ServerName(base.config.server.name)
    third_party = ThirdPartyMembership(
        rooms.writer,
        rooms.heads,
        rooms.cache,
        rooms.profiles,
        peers,
        rooms.invite_permissions,
        server_name,
    )
    return ThirdPartyInvites(
        servers,
        third_party,
        rooms.memberships,
        rooms.send,
        rooms.heads,
        rooms.cache,
        rooms.profiles,
        exchange,
        server_name,
    )
