"""The parts of a node, put together: each layer gets what it needs as constructor arguments."""

import msgspec

from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.signing import SigningKey
from homeserver.rooms.local_only import NoPeers
from homeserver.run.account_layer import AccountLayer, account_layer
from homeserver.run.address_layer import third_party_invites
from homeserver.run.federation_layer import FederationLayer
from homeserver.run.foundation import Foundation
from homeserver.run.keys_layer import KeysLayer, keys_layer
from homeserver.run.media_layer import MediaLayer
from homeserver.run.membership_layer import MembershipLayer, membership_layer
from homeserver.run.presence_layer import PresenceLayer, presence_layer
from homeserver.run.push_layer import PushLayer, push_layer
from homeserver.run.receive_layer import ReceiveLayer, receive_layer
from homeserver.run.room_layer import RoomLayer, room_layer
from homeserver.run.room_writing import room_writing
from homeserver.services.filters import Filters
from homeserver.services.profiles import Profiles
from homeserver.services.push.web_push import VapidKey
from homeserver.services.third_party_invites import ThirdPartyInvites
from homeserver.web.rate_limit import RateLimiter


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What the routes and the followers of a node are made from."""

    base: Foundation
    rate_limiter: RateLimiter
    accounts: AccountLayer
    profiles: Profiles
    rooms: RoomLayer
    filters: Filters
    invites: ThirdPartyInvites
    keys: KeysLayer
    presence: PresenceLayer
    push: PushLayer
    federation: FederationLayer
    receiving: ReceiveLayer
    memberships: MembershipLayer
    media: MediaLayer


def parts_of(
    base: Foundation,
    signing_key: SigningKey,
    federation: FederationLayer,
    media: MediaLayer,
    web_push_key: VapidKey,
) -> Parts:
    """Put the parts of a node together; nothing of them runs yet."""
    rate_limiter = base.rate_limiter
    accounts = account_layer(base, rate_limiter, signing_key)
    own_name = ServerName(base.config.server.name)
    profiles = Profiles(base.database, base.log_writer, federation.remote_users, own_name)
    directories = federation.remote_directories
    writing = room_writing(base, signing_key, federation.policy_signer)
    receiving = receive_layer(base, writing, federation.event_peers, federation.event_signatures)
    memberships = membership_layer(base, signing_key, federation, writing, receiving)
    peers = memberships.peers if base.config.federation.enabled else NoPeers()
    rooms = room_layer(base, writing, profiles=profiles, peers=peers, directories=directories)
    return Parts(
        base=base,
        rate_limiter=rate_limiter,
        accounts=accounts,
        profiles=profiles,
        rooms=rooms,
        filters=Filters(base.database),
        invites=third_party_invites(
            base, rooms, accounts.addresses.servers, peers=peers, exchange=peers
        ),
        keys=keys_layer(base, federation.remote_keys),
        presence=presence_layer(base),
        push=push_layer(base, accounts, rooms, web_push_key),
        federation=federation,
        media=media,
        receiving=receiving,
        memberships=memberships,
    )
