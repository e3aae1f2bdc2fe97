"""The room server of a node, put together."""

import msgspec

from homeserver.config.model import Config
from homeserver.ports import MemberProfiles, RemoteDirectories, RoomPeers
from homeserver.protocol.identifiers import ServerName, UserID, user_id
from homeserver.rooms.access import Access
from homeserver.rooms.aliases import RoomAliases
from homeserver.rooms.create import CreateRoom
from homeserver.rooms.erasure import Erasure
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.heads import Heads
from homeserver.rooms.invite_permissions import InvitePermissions
from homeserver.rooms.member_profiles import MemberProfileUpdates
from homeserver.rooms.membership import Memberships
from homeserver.rooms.presets import encrypted_presets
from homeserver.rooms.read_state import ReadState
from homeserver.rooms.relation_checks import RelationChecks
from homeserver.rooms.restricted import RestrictedJoins
from homeserver.rooms.send import SendEvent
from homeserver.rooms.timeline import Timeline
from homeserver.rooms.transactions import SentTransactions
from homeserver.rooms.upgrade import UpgradeRoom
from homeserver.rooms.visibility import Visibility
from homeserver.rooms.write import RoomWriter
from homeserver.run.foundation import Foundation
from homeserver.run.room_writing import RoomWriting
from homeserver.services.room_facts import KnownRooms


class RoomLayer(msgspec.Struct, frozen=True, kw_only=True):
    """What services and edges use of the room server."""

    heads: Heads
    cache: EventCache
    create: CreateRoom
    memberships: Memberships
    send: SendEvent
    aliases: RoomAliases
    access: Access
    read_state: ReadState
    timeline: Timeline
    erasure: Erasure
    visibility: Visibility
    restricted: RestrictedJoins
    invite_permissions: InvitePermissions
    upgrade: UpgradeRoom
    profiles: MemberProfiles
    member_profiles: MemberProfileUpdates
    directories: RemoteDirectories
    known: KnownRooms
    writer: RoomWriter
    # What events of other servers are taken in with.
    writing: RoomWriting


def room_layer(
    base: Foundation,
    writing: RoomWriting,
    *,
    profiles: MemberProfiles,
    peers: RoomPeers,
    directories: RemoteDirectories,
) -> RoomLayer:
    """Put the room server together."""
    server_name = ServerName(base.config.server.name)
    database, tail = base.database, base.tail
    heads, cache, writer = writing.heads, writing.cache, writing.writer
    aliases = RoomAliases(database, base.clock, server_name, directories)
    restricted = RestrictedJoins(database)
    permissions = InvitePermissions(database, exempt=notices_sender(base.config))
    visibility = Visibility(database)
    erasure = Erasure(database, tail)
    encrypted = encrypted_presets(base.config.rooms)
    access = Access(database, tail, base.user_rooms, visibility)
    send = SendEvent(
        writer,
        SentTransactions(database, tail, base.clock),
        writing.redactions,
        cache,
        RelationChecks(database, writing.relating),
    )
    return RoomLayer(
        heads=heads,
        cache=cache,
        create=CreateRoom(writer, aliases, profiles, peers, permissions, server_name, encrypted),
        memberships=Memberships(
            writer, heads, cache, profiles, peers, restricted, permissions, server_name
        ),
        send=send,
        aliases=aliases,
        access=access,
        read_state=ReadState(database, base.partial_rooms),
        timeline=Timeline(database, access, erasure),
        erasure=erasure,
        visibility=visibility,
        restricted=restricted,
        invite_permissions=permissions,
        upgrade=UpgradeRoom(
            database, writer, heads, cache, send, profiles, base.user_rooms, base.clock, server_name
        ),
        profiles=profiles,
        member_profiles=MemberProfileUpdates(writer, cache, profiles),
        directories=directories,
        known=KnownRooms(database, tail, server_name),
        writer=writer,
        writing=writing,
    )


def notices_sender(config: Config) -> UserID | None:
    """Return who sends server notices, None where nobody does."""
    localpart = config.server_notices.localpart
    return None if localpart is None else user_id(localpart, ServerName(config.server.name))
