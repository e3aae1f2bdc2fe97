"""Coming into rooms of other servers, and letting others into those of this one, put together."""

import msgspec

from federation.membership.candidates import Candidates
from federation.membership.completion import CompleteJoins
from federation.membership.handshake import Handshake, Signature
from federation.membership.incoming_invites import IncomingInvites
from federation.membership.inviting import RemoteInvites
from federation.membership.joining import RemoteJoins
from federation.membership.knocking import RemoteKnocks
from federation.membership.leaving import RemoteLeaves
from federation.membership.peers import FederatedRooms
from federation.membership.residence import RoomsHere, SubmittedEvents, Templates
from federation.membership.room_previews import RoomPreviews
from federation.membership.submissions import Submissions
from federation.routes.invites import InviteRoutes
from federation.routes.make_membership import MakeMembershipRoutes
from federation.routes.send_membership import SendMembershipRoutes
from federation.routes.third_party_invites import ThirdPartyInviteRoutes
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.signing import SigningKey
from homeserver.rooms.invite_permissions import InvitePermissions
from homeserver.rooms.outside import OutsideMemberships
from homeserver.rooms.receive.accept import AcceptEvent
from homeserver.rooms.restricted import RestrictedJoins
from homeserver.rooms.servers_in_room import ServersInRooms
from homeserver.rooms.state_at_join import StatesAtJoin
from homeserver.run.federation_layer import FederationLayer
from homeserver.run.foundation import Foundation
from homeserver.run.receive_layer import ReceiveLayer
from homeserver.run.room_writing import RoomWriting
from homeserver.services.accounts import Accounts
from homeserver.services.third_party_invites import ThirdPartyInvites


class MembershipLayer(msgspec.Struct, frozen=True, kw_only=True):
    """What joins, leaves, knocks and invites over federation are made with."""

    peers: FederatedRooms
    completion: CompleteJoins
    outside: OutsideMemberships
    accept: AcceptEvent
    previews: RoomPreviews
    signature: Signature
    receiving: ReceiveLayer
    writing: RoomWriting
    federation: FederationLayer


def membership_layer(
    base: Foundation,
    signing_key: SigningKey,
    federation: FederationLayer,
    writing: RoomWriting,
    receiving: ReceiveLayer,
) -> MembershipLayer:
    """Put it together."""
    signature = Signature(ServerName(base.config.server.name), signing_key)
    outside = receiving.outside
    servers = ServersInRooms(base.database)
    candidates = Candidates(outside, writing.heads, servers, federation.policy, base.clock)
    handshake = Handshake(federation.client, signature, base.clock)
    accept = AcceptEvent(writing.heads, receiving.known, receiving.take_events)
    previews = RoomPreviews(federation.event_signatures)
    completion = CompleteJoins(
        base.database,
        receiving.new_rooms,
        federation.event_peers,
        federation.policy,
        base.tasks,
        base.clock,
    )
    peers = FederatedRooms(
        federation.client,
        RemoteJoins(
            handshake,
            candidates,
            receiving.new_rooms,
            federation.event_signatures,
            completion,
        ),
        RemoteKnocks(handshake, candidates, previews, outside),
        RemoteLeaves(handshake, candidates, outside, base.clock),
        RemoteInvites(
            federation.client,
            federation.policy,
            writing.heads,
            writing.cache,
            writing.writer.builder,
            accept,
            signature.server_name,
        ),
    )
    return MembershipLayer(
        peers=peers,
        completion=completion,
        outside=outside,
        accept=accept,
        previews=previews,
        signature=signature,
        receiving=receiving,
        writing=writing,
        federation=federation,
    )


def membership_routes(
    base: Foundation,
    layer: MembershipLayer,
    permissions: InvitePermissions,
    accounts: Accounts,
    third_party_invites: ThirdPartyInvites,
) -> list[object]:
    """Return the objects whose endpoints other servers call; none without federation."""
    if not base.config.federation.enabled:
        return []
    heads, cache = layer.writing.heads, layer.writing.cache
    signatures = layer.federation.event_signatures
    rooms = RoomsHere(heads, layer.receiving.acls)
    restricted = RestrictedJoins(base.database)
    templates = Templates(rooms, heads, layer.writing.writer.builder, restricted)
    submissions = Submissions(
        rooms,
        SubmittedEvents(templates, signatures, layer.signature),
        layer.accept,
        StatesAtJoin(base.database, layer.receiving.states),
        cache,
    )
    incoming = IncomingInvites(
        heads,
        layer.receiving.acls,
        signatures,
        layer.previews,
        permissions,
        accounts,
        layer.outside,
        layer.signature,
    )
    return [
        MakeMembershipRoutes(templates),
        SendMembershipRoutes(submissions, layer.signature.server_name),
        InviteRoutes(incoming),
        ThirdPartyInviteRoutes(third_party_invites, rooms),
    ]
