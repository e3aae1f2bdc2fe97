"""What a destination has missed, read back from the log, a transaction's worth at a time."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from federation.sending.outbox import DeviceItem, DurableItem, PduItem, SigningKeyItem
from homeserver.protocol.identifiers import ServerName
from homeserver.storage import outbound
from homeserver.storage.database import Connection, Database
from homeserver.storage.outbound import ChangedDevices, OutboundEvent, Stay

_MAX_USERS: Final = 40
# In a stretch of so many positions events are looked for first; it grows while they are few. Who
# misses a little of a large log costs few statements, and who misses much reads nothing twice.
_FIRST_STRETCH: Final = 1_000
_GROWTH: Final = 4
# For one page, so that each is read in a moment whatever else has happened meanwhile.
_MAX_STRETCH: Final = 64_000
# Some 100 bytes each.
_MAX_STAYS: Final = 100_000


class Page(NamedTuple):
    """Items in the order of the log; they are all that there is up to `upto`."""

    items: Sequence[DurableItem]
    upto: int


class _Plan(NamedTuple):
    """Where a server was between two positions: read once, and used for many pages."""

    after: int
    upto: int
    stays: Sequence[Stay]


class CatchUp:
    """Reads pages."""

    def __init__(self, database: Database, own_name: ServerName) -> None:
        self._database = database
        self._own_name = own_name
        # The newest last.
        self._plans: OrderedDict[ServerName, _Plan] = OrderedDict()

    async def page(self, destination: ServerName, after: int, upto: int, limit: int) -> Page:
        """Return the first things in (after, upto] that are for a destination.

        Perhaps none, of less than all of it. Of the devices of each user only the newest change:
        who has missed others asks for all.
        """
        if after >= upto:
            return Page((), upto)
        async with self._database.transaction(
            "catch_up", isolation="repeatable_read", readonly=True
        ) as tx:
            plan = await self._plan(tx, destination, after, upto)
            events, upto = await self._events(tx, destination, plan, after, limit)
            users = min(limit, _MAX_USERS)
            changes = await outbound.devices_changed_for(
                tx, self._own_name, destination, after, upto, users
            )
        if upto >= plan.upto:
            self._plans.pop(destination, None)
        if len(changes) == users:
            upto = changes[-1].pos
        items: list[DurableItem] = [PduItem(*event) for event in events if event.pos <= upto]
        items += [item for change in changes for item in _items_of(change)]
        return Page(sorted(items, key=lambda item: item.pos), upto)

    async def _plan(
        self, connection: Connection, destination: ServerName, after: int, upto: int
    ) -> _Plan:
        plan = self._plans.pop(destination, None)
        if plan is None or not plan.after <= after < plan.upto:
            stays = await outbound.stays_of(connection, destination, after, upto)
            plan = _Plan(after, upto, stays)
        self._plans[destination] = plan
        size = sum(len(each.stays) for each in self._plans.values())
        while size > _MAX_STAYS and len(self._plans) > 1:
            size -= len(self._plans.popitem(last=False)[1].stays)
        return plan

    async def _events(
        self,
        connection: Connection,
        destination: ServerName,
        plan: _Plan,
        after: int,
        limit: int,
    ) -> tuple[Sequence[OutboundEvent], int]:
        """Return the first events after a position, and up to where they are all."""
        stretch = _FIRST_STRETCH
        while True:
            upto = min(plan.upto, after + stretch)
            stays = [
                Stay(stay.room_nid, max(stay.after, after), min(stay.upto, upto))
                for stay in plan.stays
                if stay.after < upto and stay.upto > after
            ]
            events: Sequence[OutboundEvent] = ()
            if stays:
                # One statement more for each time that the stretch grows.
                events = await outbound.events_for(
                    connection, self._own_name, destination, stays, limit
                )
            if len(events) == limit:
                return events, events[-1].pos
            if upto == plan.upto or stretch >= _MAX_STRETCH:
                return events, upto
            stretch *= _GROWTH


def _items_of(change: ChangedDevices) -> Iterator[DurableItem]:
    if change.device_pos is not None and change.device_id is not None:
        yield DeviceItem(change.device_pos, change.user_id, change.device_id)
    if change.is_cross_signing_new:
        yield SigningKeyItem(change.pos, change.user_id)
