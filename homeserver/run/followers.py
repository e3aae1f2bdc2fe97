"""The followers of the log that every node has, put together."""

import secrets
from typing import Final

from homeserver.protocol.identifiers import ServerName
from homeserver.run.foundation import Foundation
from homeserver.run.room_layer import RoomLayer
from homeserver.services import (
    profile_propagation,
    upgraded_room_settings,
    user_directory_index,
)
from homeserver.services.account_data import AccountData
from homeserver.services.profile_propagation import ProfilePropagation
from homeserver.services.push_rules import PushRules
from homeserver.services.upgraded_room_settings import UpgradedRoomSettings
from homeserver.services.user_directory_index import UserDirectoryIndex
from homeserver.streams.followers import Followers

# Of one run of the process: no other run may ever have it.
_NODE_ID_BYTES: Final = 16


def followers_of(base: Foundation, rooms: RoomLayer) -> Followers:
    """Return the followers of a node, not started."""
    followers = Followers(
        base.database,
        base.tail,
        base.tasks,
        base.clock,
        base.metrics,
        node_id=secrets.token_hex(_NODE_ID_BYTES),
    )
    server_name = ServerName(base.config.server.name)
    followers.add(
        user_directory_index.FOLLOWER_NAME,
        UserDirectoryIndex(base.database, rooms.profiles, server_name),
    )
    followers.add(
        profile_propagation.FOLLOWER_NAME,
        ProfilePropagation(base.database, rooms.member_profiles),
    )
    push_rules = PushRules(base.database, base.log_writer, base.tail)
    account_data = AccountData(base.database, base.log_writer, base.tail, push_rules)
    followers.add(
        upgraded_room_settings.FOLLOWER_NAME,
        UpgradedRoomSettings(base.database, account_data, push_rules, server_name),
        begins_at_head=True,
    )
    return followers
