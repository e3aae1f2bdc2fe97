"""/sync, put together."""

from client_api.sync.account_data_stream import (
    AccountDataChanges,
    GlobalAccountData,
    RecountedRooms,
    RoomAccountData,
)
from client_api.sync.bundles import SyncBundles
from client_api.sync.device_lists_stream import DeviceListsStream, KeyCountsStream
from client_api.sync.lazy_members import LazyMembers, SenderMembers
from client_api.sync.presence_stream import PresenceStream
from client_api.sync.receipts_stream import ReceiptsStream
from client_api.sync.room_choice import RoomChoices
from client_api.sync.rooms import RoomSections
from client_api.sync.state_blocks import StateBlocks
from client_api.sync.streams import GlobalStream
from client_api.sync.stripped import StrippedRooms
from client_api.sync.summaries import Summaries
from client_api.sync.sync import Sync
from client_api.sync.timelines import Timelines
from client_api.sync.to_device_stream import ToDeviceStream
from client_api.sync.typing_stream import TypingStream
from homeserver.run.foundation import Foundation
from homeserver.run.keys_layer import KeysLayer
from homeserver.run.room_layer import RoomLayer
from homeserver.services.aggregations import Aggregations
from homeserver.services.presence_news import PresenceNews
from homeserver.services.push_rules import PushRules
from homeserver.services.to_device_inbox import ToDeviceInbox
from homeserver.streams.recent_parents import RecentParents


def sync_layer(
    base: Foundation, rooms: RoomLayer, keys: KeysLayer, *, presence: PresenceNews | None = None
) -> Sync:
    """Put /sync together."""
    database, tail = base.database, base.tail
    account_data_changes = AccountDataChanges(tail)
    push_rules = PushRules(database, base.log_writer)
    own: list[GlobalStream] = [
        GlobalAccountData(database, account_data_changes, push_rules),
        DeviceListsStream(keys.device_lists),
        KeyCountsStream(keys.counts),
    ]
    if presence is not None:
        own.append(PresenceStream(presence))
    typing = TypingStream(base.typing)
    sections = RoomSections(
        RoomChoices(database, tail, rooms.visibility, rooms.invite_permissions, base.partial_rooms),
        Timelines(database, tail),
        StateBlocks(database, tail, LazyMembers()),
        Summaries(database),
        StrippedRooms(database),
        rooms.visibility,
        rooms.erasure,
        base.unread,
        SenderMembers(database, rooms.heads),
        SyncBundles(
            Aggregations(database, base.personal_rules, rooms.erasure), RecentParents(tail)
        ),
        streams=[
            typing,
            ReceiptsStream(database, tail),
            RoomAccountData(database, account_data_changes),
            RecountedRooms(account_data_changes, push_rules, base.unread),
        ],
    )
    return Sync(
        tail,
        base.reader,
        base.notifier,
        base.user_rooms,
        base.partial_rooms,
        base.personal_rules,
        typing,
        ToDeviceStream(ToDeviceInbox(database, tail)),
        sections,
        base.clock,
        base.shutdown,
        streams=own,
    )
