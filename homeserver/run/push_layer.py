"""Notifications, put together."""

import secrets
from typing import Final

import msgspec

from client_api.routes.notifications import NotificationRoutes
from client_api.routes.pushers import PusherRoutes
from homeserver.config.model import Config
from homeserver.protocol.identifiers import ServerName
from homeserver.run.account_layer import AccountLayer
from homeserver.run.foundation import Foundation
from homeserver.run.room_layer import RoomLayer
from homeserver.run.secret_files import load_secret
from homeserver.services.notifications import Notifications
from homeserver.services.pages import Pages
from homeserver.services.push.activating import WebPushActivation
from homeserver.services.push.delivery import Delivery
from homeserver.services.push.digest import EmailDigests
from homeserver.services.push.follower import SHARDS, PushFollower, follower_name
from homeserver.services.push.outcomes import PushOutcomes
from homeserver.services.push.outside_pushes import OutsidePushes
from homeserver.services.push.pushed_users import PushedUsers
from homeserver.services.push.sender import EXPIRY_SECONDS, POLL_SECONDS, PushSender
from homeserver.services.push.unread_counts import PushCounts
from homeserver.services.push.unsubscribing import UnsubscribePages
from homeserver.services.push.web_push import VapidKey
from homeserver.services.pushers import Pushers
from homeserver.streams.followers import Followers

# Of one run of the process: no other run may ever have it.
_NODE_ID_BYTES: Final = 16


class PushLayer(msgspec.Struct, frozen=True, kw_only=True):
    """What finds and sends notifications."""

    users: PushedUsers
    outcomes: PushOutcomes
    outside: OutsidePushes
    delivery: Delivery
    sender: PushSender
    web_push_key: VapidKey


def web_push_key_of(config: Config) -> VapidKey:
    """Read the key of Web Push, and make it at the first start. Raises OSError, ValueError."""
    return VapidKey(load_secret(config.web_push_key_path), config.push.web_push_contact)


def push_layer(
    base: Foundation, accounts: AccountLayer, rooms: RoomLayer, web_push_key: VapidKey
) -> PushLayer:
    """Put together what sends notifications, and begin to send what waits."""
    config, settings = base.config, base.config.push
    delivery = Delivery(
        accounts.http, web_push_key, base.clock, base.metrics, ttl_ms=settings.max_age_ms
    )
    digests = EmailDigests(
        base.database,
        accounts.addresses.mail,
        base.personal_rules,
        base.clock,
        base.metrics,
        ServerName(config.server.name),
        base_url=config.public_base_url,
        interval_ms=settings.email_interval_ms,
    )
    sender = PushSender(
        base.database,
        delivery,
        digests,
        PushCounts(base.database, base.tail, base.unread, base.user_rooms),
        base.personal_rules,
        base.tasks,
        base.clock,
        base.metrics,
        node_id=secrets.token_hex(_NODE_ID_BYTES),
        max_age_ms=settings.max_age_ms,
    )
    base.tasks.every("push poll", POLL_SECONDS, sender.poll)
    base.tasks.every("push expiry", EXPIRY_SECONDS, sender.expire)
    outcomes = PushOutcomes(rooms.cache, base.personal_rules)
    return PushLayer(
        users=PushedUsers(base.database, base.tail, rooms.heads),
        outcomes=outcomes,
        outside=OutsidePushes(base.database, outcomes),
        delivery=delivery,
        sender=sender,
        web_push_key=web_push_key,
    )


def add_push_followers(
    followers: Followers, base: Foundation, rooms: RoomLayer, push: PushLayer
) -> None:
    """Have a node find notifications, from when the server was first able to."""
    for shard in range(SHARDS):
        work = PushFollower(
            shard,
            push.users,
            push.outcomes,
            push.outside,
            rooms.cache,
            base.clock,
            push.sender.wake,
            email_delay_ms=base.config.push.email_delay_ms,
        )
        followers.add(follower_name(shard), work, begins_at_head=True)


def push_routes(
    base: Foundation, accounts: AccountLayer, rooms: RoomLayer, push: PushLayer
) -> list[object]:
    """Return the objects whose endpoints are about notifications."""
    activation = WebPushActivation(base.database, push.delivery, base.tasks)
    pushers = Pushers(
        base.database,
        base.log_writer,
        base.clock,
        can_mail=accounts.addresses.mail.is_configured,
        begin_activation=activation.begin,
    )
    notifications = Notifications(
        base.database,
        base.user_rooms,
        rooms.visibility,
        rooms.heads,
        rooms.cache,
        base.personal_rules,
        push.outcomes,
        push.outside,
        base.clock,
    )
    return [
        PusherRoutes(pushers, UnsubscribePages(pushers, Pages())),
        NotificationRoutes(notifications),
    ]
