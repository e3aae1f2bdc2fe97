"""What a destination has missed, read back from the log, a transaction's worth at a time."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from federation.sending.outbox import DeviceItem, DurableItem, PduItem, SigningKeyItem
from homeserver.protocol.identifiers import ServerName
from homeserver.storage import outbound
from homeserver.storage.database import Database
from homeserver.storage.outbound import ChangedDevices

_MAX_USERS: Final = 40


class Page(NamedTuple):
    """Items in the order of the log; they are all that there is up to `upto`."""

    items: Sequence[DurableItem]
    upto: int


class CatchUp:
    """Reads pages."""

    def __init__(self, database: Database, own_name: ServerName) -> None:
        self._database = database
        self._own_name = own_name

    async def page(self, destination: ServerName, after: int, upto: int, limit: int) -> Page:
        """Return the first things in (after, upto] that are for a destination.

        Of the devices of each user only the newest change: who has missed others asks for all.
        """
        if after >= upto:
            return Page((), upto)
        async with self._database.transaction(
            "catch_up", isolation="repeatable_read", readonly=True
        ) as tx:
            stays = await outbound.stays_of(tx, destination, after, upto)
            events = await outbound.events_for(tx, self._own_name, destination, stays, limit)
            if len(events) == limit:
                upto = events[-1].pos
            users = min(limit, _MAX_USERS)
            changes = await outbound.devices_changed_for(
                tx, self._own_name, destination, after, upto, users
            )
        if len(changes) == users:
            upto = changes[-1].pos
        items: list[DurableItem] = [PduItem(*event) for event in events if event.pos <= upto]
        items += [item for change in changes for item in _items_of(change)]
        return Page(sorted(items, key=lambda item: item.pos), upto)


def _items_of(change: ChangedDevices) -> Iterator[DurableItem]:
    if change.device_pos is not None and change.device_id is not None:
        yield DeviceItem(change.device_pos, change.user_id, change.device_id)
    if change.is_cross_signing_new:
        yield SigningKeyItem(change.pos, change.user_id)
