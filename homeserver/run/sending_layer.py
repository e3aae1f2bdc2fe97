"""Sending to other servers, and taking what they send, put together."""

from federation.edus import ReceivedEdus, RoomGate
from federation.routes.send_transaction import SendTransactionRoutes
from federation.sending import backlog, presence_repeats
from federation.sending.backlog import Backlog
from federation.sending.catch_up import CatchUp
from federation.sending.delivery import Deliveries
from federation.sending.devices import DeviceUpdates
from federation.sending.presence_repeats import PresenceRepeats
from federation.sending.router import Router
from federation.sending.sender import Sending, Shards
from federation.sending.transactions import Transactions
from federation.transactions_in import TransactionsIn
from homeserver.protocol.identifiers import ServerName
from homeserver.run.parts import Parts
from homeserver.run.reading_routes import receipts_of
from homeserver.run.to_device_layer import to_device_of
from homeserver.services import remote_devices
from homeserver.services.remote_devices import ForgetRemoteDevices
from homeserver.services.typing_notifications import TypingNotifications
from homeserver.streams.ephemeral import TypingChange
from homeserver.streams.followers import Followers
from homeserver.streams.leases import Leases


def sending_of(parts: Parts) -> Sending:
    """Put the sender together; it runs when it is started."""
    base, federation = parts.base, parts.federation
    own_name = ServerName(base.config.server.name)
    database, clock, tasks = base.database, base.clock, base.tasks
    section = base.config.presence
    shards = Shards(federation.policy, clock)
    router = Router(
        database,
        base.tail,
        shards,
        clock,
        own_name,
        tells_presence=section.enabled and section.send_to_servers,
    )
    transactions = Transactions(
        database,
        federation.client,
        parts.rooms.cache,
        DeviceUpdates(database),
        clock,
        base.metrics,
        own_name,
    )
    deliveries = Deliveries(
        transactions,
        CatchUp(database, own_name),
        federation.destinations,
        federation.policy,
        tasks,
        clock,
        lambda: router.position,
    )
    if base.config.federation.enabled:
        federation.destinations.on_wake(deliveries.wake)
        _follow(parts, router)
        if router.tells_presence:
            repeats = PresenceRepeats(parts.presence.index, router, clock, own_name)
            tasks.every("federation presence", presence_repeats.ROUND_SECONDS, repeats.tell)
        watch = Backlog(
            database, base.tail, router, shards.held.values, clock, base.metrics, own_name
        )
        tasks.every("federation backlog", backlog.LOOK_SECONDS, watch.look)
    leases = Leases(database, clock, base.node_id, part="federation")
    return Sending(database, leases, shards, router, deliveries, tasks, clock, own_name)


def _follow(parts: Parts, router: Router) -> None:
    """Have the router told of what is not in the log."""
    tasks = parts.base.tasks

    def types(change: TypingChange) -> None:
        tasks.spawn("federation typing", router.tell_typing(change))

    parts.base.typing.follow_everywhere(types)


def transaction_routes(parts: Parts) -> list[object]:
    """Put together what takes transactions of other servers; nothing without federation."""
    base, rooms, receiving = parts.base, parts.rooms, parts.receiving
    if not base.config.federation.enabled:
        return []
    devices = parts.keys.remote_devices
    base.tasks.every("remote device lists", remote_devices.RETRY_SECONDS, devices.retry)
    edus = ReceivedEdus(
        RoomGate(base.database, rooms.heads, receiving.acls),
        TypingNotifications(base.database, rooms.access, base.typing),
        receipts_of(base, rooms),
        parts.presence.presence,
        to_device_of(base),
        devices,
        takes_presence=base.config.presence.take_from_servers,
    )
    return [SendTransactionRoutes(TransactionsIn(receiving.receive, edus))]


def add_federation_followers(followers: Followers, parts: Parts) -> None:
    """Have the log followed for what other servers tell."""
    own_name = ServerName(parts.base.config.server.name)
    followers.add(remote_devices.FOLLOWER_NAME, ForgetRemoteDevices(own_name), begins_at_head=True)
