"""What events are written to rooms with, those made here and those received, put together."""

import msgspec

from homeserver.ports import PolicySigner
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.signing import SigningKey
from homeserver.rooms.build import EventBuilder, Identity
from homeserver.rooms.counting import Counting
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.heads import Heads
from homeserver.rooms.local_only import NoPeers
from homeserver.rooms.policy_servers import PolicyServers
from homeserver.rooms.redactions import Redactions
from homeserver.rooms.relating import Relating
from homeserver.rooms.room_rules import RoomRules
from homeserver.rooms.row_numbers import RowNumbers
from homeserver.rooms.state_keys import StateKeys
from homeserver.rooms.write import RoomWriter
from homeserver.run.foundation import Foundation


class RoomWriting(msgspec.Struct, frozen=True, kw_only=True):
    """The parts."""

    heads: Heads
    cache: EventCache
    writer: RoomWriter
    row_numbers: RowNumbers
    state_keys: StateKeys
    redactions: Redactions
    relating: Relating
    counting: Counting
    policy_servers: PolicyServers


def room_writing(
    base: Foundation, signing_key: SigningKey, policy_signer: PolicySigner | None = None
) -> RoomWriting:
    """Put them together; without a `policy_signer` no policy server can be asked."""
    server_name = ServerName(base.config.server.name)
    database, tail = base.database, base.tail
    cache = EventCache(database, tail)
    row_numbers, state_keys = RowNumbers(database), StateKeys(database)
    heads = Heads(database, tail, cache, row_numbers, server_name)
    redactions, relating = Redactions(database, cache), Relating(database)
    counting = Counting(database, server_name, cache, RoomRules(base.personal_rules, tail))
    policy_servers = PolicyServers(cache, policy_signer or NoPeers())
    builder = EventBuilder(
        Identity(server_name, signing_key),
        base.clock,
        cache,
        row_numbers,
        state_keys,
        redactions,
        relating,
        counting,
        policy_servers,
    )
    return RoomWriting(
        heads=heads,
        cache=cache,
        writer=RoomWriter(heads, builder, cache, base.log_writer),
        row_numbers=row_numbers,
        state_keys=state_keys,
        redactions=redactions,
        relating=relating,
        counting=counting,
        policy_servers=policy_servers,
    )
