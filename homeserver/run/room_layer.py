"""The room server of a node, put together."""

import msgspec

from homeserver.ports import MemberProfiles, RemoteDirectories, RoomPeers
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.signing import SigningKey
from homeserver.rooms.access import Access
from homeserver.rooms.aliases import RoomAliases
from homeserver.rooms.build import EventBuilder, Identity
from homeserver.rooms.counting import Counting
from homeserver.rooms.create import CreateRoom
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.heads import Heads
from homeserver.rooms.member_profiles import MemberProfileUpdates
from homeserver.rooms.membership import Memberships
from homeserver.rooms.read_state import ReadState
from homeserver.rooms.redactions import Redactions
from homeserver.rooms.relating import Relating
from homeserver.rooms.relation_checks import RelationChecks
from homeserver.rooms.restricted import RestrictedJoins
from homeserver.rooms.room_rules import RoomRules
from homeserver.rooms.row_numbers import RowNumbers
from homeserver.rooms.send import SendEvent
from homeserver.rooms.state_keys import StateKeys
from homeserver.rooms.timeline import Timeline
from homeserver.rooms.transactions import SentTransactions
from homeserver.rooms.upgrade import UpgradeRoom
from homeserver.rooms.visibility import Visibility
from homeserver.rooms.write import RoomWriter
from homeserver.run.foundation import Foundation


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
    visibility: Visibility
    restricted: RestrictedJoins
    upgrade: UpgradeRoom
    profiles: MemberProfiles
    member_profiles: MemberProfileUpdates
    directories: RemoteDirectories


def room_layer(
    base: Foundation,
    signing_key: SigningKey,
    *,
    profiles: MemberProfiles,
    peers: RoomPeers,
    directories: RemoteDirectories,
) -> RoomLayer:
    """Put the room server together."""
    server_name = ServerName(base.config.server.name)
    database, tail = base.database, base.tail
    cache = EventCache(database, tail)
    row_numbers = RowNumbers(database)
    heads = Heads(database, tail, cache, row_numbers, server_name)
    redactions = Redactions(database, cache)
    relating = Relating(database)
    builder = EventBuilder(
        Identity(server_name, signing_key),
        base.clock,
        cache,
        row_numbers,
        StateKeys(database),
        redactions,
        relating,
        Counting(database, server_name, cache, RoomRules(base.personal_rules, tail)),
    )
    writer = RoomWriter(heads, builder, cache, base.log_writer)
    aliases = RoomAliases(database, base.clock, server_name, directories)
    restricted = RestrictedJoins(database, server_name)
    visibility = Visibility(database)
    access = Access(database, tail, base.user_rooms, visibility)
    send = SendEvent(
        writer,
        SentTransactions(database, tail, base.clock),
        redactions,
        cache,
        RelationChecks(database, relating),
    )
    return RoomLayer(
        heads=heads,
        cache=cache,
        create=CreateRoom(writer, aliases, profiles, peers, server_name),
        memberships=Memberships(writer, heads, cache, profiles, peers, restricted, server_name),
        send=send,
        aliases=aliases,
        access=access,
        read_state=ReadState(database),
        timeline=Timeline(database, access),
        visibility=visibility,
        restricted=restricted,
        upgrade=UpgradeRoom(
            database, writer, heads, cache, send, profiles, base.user_rooms, base.clock, server_name
        ),
        profiles=profiles,
        member_profiles=MemberProfileUpdates(writer, cache, profiles),
        directories=directories,
    )
