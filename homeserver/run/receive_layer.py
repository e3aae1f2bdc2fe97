"""Receiving events of other servers, put together."""

import secrets
from typing import Final

import msgspec

from homeserver.ports import EventPeers, EventSignatures
from homeserver.protocol.identifiers import ServerName
from homeserver.rooms.erasure import Erasure
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.heads import Heads
from homeserver.rooms.outside import OutsideMemberships
from homeserver.rooms.receive.ended_invites import EndedInvites
from homeserver.rooms.receive.extremities import Extremities
from homeserver.rooms.receive.fill_gap import FillGap
from homeserver.rooms.receive.gaps import Gaps
from homeserver.rooms.receive.inbox import Inbox
from homeserver.rooms.receive.inquiries import Inquiries
from homeserver.rooms.receive.judge import Judge
from homeserver.rooms.receive.judge_anew import JudgeAnew
from homeserver.rooms.receive.jump import Jump
from homeserver.rooms.receive.known import KnownEvents
from homeserver.rooms.receive.new_room import NewRoom
from homeserver.rooms.receive.outliers import Outliers
from homeserver.rooms.receive.place import Placing
from homeserver.rooms.receive.place_history import PlaceHistory
from homeserver.rooms.receive.questions import OtherServers
from homeserver.rooms.receive.resolution import StateResolver
from homeserver.rooms.receive.server_acls import ServerAcls
from homeserver.rooms.receive.stage import ReceiveEvents
from homeserver.rooms.receive.staging import Staging
from homeserver.rooms.receive.states import RoomStates
from homeserver.rooms.receive.take import TakeEvents
from homeserver.rooms.server_visibility import ServerVisibility
from homeserver.rooms.servers_in_room import ServersInRooms
from homeserver.rooms.serving import AuthChains, History, StateBefore
from homeserver.rooms.visibility import Visibility
from homeserver.run.foundation import Foundation
from homeserver.run.room_writing import RoomWriting

# Of one run of the process: no other run may ever have it.
_NODE_ID_BYTES: Final = 16


class ReceiveLayer(msgspec.Struct, frozen=True, kw_only=True):
    """What the federation edge uses."""

    receive: ReceiveEvents
    inbox: Inbox
    take_events: TakeEvents
    new_rooms: NewRoom
    acls: ServerAcls
    known: KnownEvents
    outliers: Outliers
    states: RoomStates
    extremities: Extremities
    outside: OutsideMemberships
    # What other servers ask for.
    auth_chains: AuthChains
    state_before: StateBefore
    history: History
    fill_gap: FillGap
    jump: Jump


def receive_layer(
    base: Foundation, writing: RoomWriting, peers: EventPeers, signatures: EventSignatures
) -> ReceiveLayer:
    """Put it together; `inbox.start` sets it going."""
    database = base.database
    cache, heads, keys = writing.cache, writing.heads, writing.state_keys
    known = KnownEvents(database, cache)
    states = RoomStates(database, writing.row_numbers, keys, StateResolver(database, cache))
    outliers = Outliers(database, known, writing.row_numbers, peers, signatures, base.clock)
    gaps = Gaps(known, outliers, keys, peers, signatures)
    places = PlaceHistory(known, cache)
    judge, placing = Judge(known, cache), _placing(base, writing)
    take_events = TakeEvents(
        database,
        writing.writer,
        heads,
        cache,
        known,
        judge,
        states,
        keys,
        writing.row_numbers,
        placing,
        outliers,
        gaps,
        writing.policy_servers,
        base.clock,
    )
    extremities = Extremities(writing.writer, heads)
    acls = ServerAcls(cache)
    inbox = _inbox(base, heads, known, take_events, extremities, acls)
    outside = OutsideMemberships(database, writing.row_numbers, base.log_writer, base.tail)
    own_name = ServerName(base.config.server.name)
    return ReceiveLayer(
        receive=ReceiveEvents(
            database,
            heads,
            known,
            acls,
            signatures,
            inbox,
            EndedInvites(outside, signatures, own_name),
        ),
        inbox=inbox,
        take_events=take_events,
        new_rooms=_new_rooms(base, writing, known, judge, outliers, states, placing, take_events),
        acls=acls,
        known=known,
        outliers=outliers,
        states=states,
        extremities=extremities,
        outside=outside,
        fill_gap=FillGap(database, known, places, outliers, peers),
        jump=Jump(database, known, cache, outliers, gaps, places, peers, base.clock),
        auth_chains=AuthChains(database, known),
        state_before=StateBefore(database, known),
        history=_history(base, known, cache),
    )


def _history(base: Foundation, known: KnownEvents, cache: EventCache) -> History:
    database = base.database
    visibility = Visibility(database)
    erasure = Erasure(database, base.tail)
    return History(database, known, ServerVisibility(database, cache, visibility, erasure))


def _placing(base: Foundation, writing: RoomWriting) -> Placing:
    return Placing(
        base.database,
        writing.cache,
        writing.redactions,
        writing.relating,
        writing.counting,
        ServerName(base.config.server.name),
    )


def _new_rooms(
    base: Foundation,
    writing: RoomWriting,
    known: KnownEvents,
    judge: Judge,
    outliers: Outliers,
    states: RoomStates,
    placing: Placing,
    take_events: TakeEvents,
) -> NewRoom:
    return NewRoom(
        base.database,
        writing.writer,
        writing.heads,
        writing.cache,
        known,
        judge,
        JudgeAnew(known, judge, states, writing.cache, writing.row_numbers),
        outliers,
        states,
        placing,
        take_events,
        writing.row_numbers,
        writing.state_keys,
        base.log_writer,
        base.tail,
        ServerName(base.config.server.name),
    )


def _inbox(
    base: Foundation,
    heads: Heads,
    known: KnownEvents,
    take_events: TakeEvents,
    extremities: Extremities,
    acls: ServerAcls,
) -> Inbox:
    node_id = secrets.token_hex(_NODE_ID_BYTES)
    staging = Staging(base.database, known, acls, base.clock)
    own_name = ServerName(base.config.server.name)
    others = OtherServers(ServersInRooms(base.database), acls, own_name)
    return Inbox(
        base.database,
        heads,
        staging,
        take_events,
        Inquiries(staging, heads, take_events, others, base.tasks, base.clock),
        extremities,
        base.tasks,
        base.clock,
        node_id=node_id,
    )
