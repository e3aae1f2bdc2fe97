"""The followers of the log that every node has, put together."""

from homeserver.protocol.identifiers import ServerName
from homeserver.run.foundation import Foundation
from homeserver.run.room_layer import RoomLayer
from homeserver.run.search_routes import search_index_of
from homeserver.services import (
    forget_on_leave,
    profile_propagation,
    search_index,
    upgraded_room_settings,
    user_directory_index,
)
from homeserver.services.account_data import AccountData
from homeserver.services.forget_on_leave import ForgetOnLeave
from homeserver.services.forget_room import ForgetRoom
from homeserver.services.profile_propagation import ProfilePropagation
from homeserver.services.push_rules import PushRules
from homeserver.services.upgraded_room_settings import UpgradedRoomSettings
from homeserver.services.user_directory_index import UserDirectoryIndex
from homeserver.streams.followers import Followers


def followers_of(base: Foundation, rooms: RoomLayer) -> Followers:
    """Return the followers of a node, not started."""
    followers = Followers(
        base.database,
        base.tail,
        base.tasks,
        base.clock,
        base.metrics,
        node_id=base.node_id,
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
    followers.add(search_index.FOLLOWER_NAME, search_index_of(base))
    push_rules = PushRules(base.database, base.log_writer)
    account_data = AccountData(base.database, base.log_writer, push_rules)
    followers.add(
        upgraded_room_settings.FOLLOWER_NAME,
        UpgradedRoomSettings(base.database, account_data, push_rules, server_name),
        begins_at_head=True,
    )
    if base.config.rooms.forget_on_leave:
        forget_room = ForgetRoom(base.database, base.log_writer)
        followers.add(
            forget_on_leave.FOLLOWER_NAME,
            ForgetOnLeave(forget_room, server_name),
            begins_at_head=True,
        )
    return followers
