"""What waits for one destination: in memory as long as it is little, otherwise in the log."""

from collections.abc import Hashable, Sequence
from typing import Final, NamedTuple, TypeAlias

from homeserver.protocol.edu import Edu
from homeserver.protocol.identifiers import DeviceID, ServerName, UserID

# Whoever is further behind reads the log again: 10,000 destinations are then some MB.
MAX_DURABLE: Final = 200
MAX_EPHEMERAL: Final = 200
# What is older says nothing any more: typing is over after half a minute.
MAX_AGE_SECONDS: Final = 60.0


class PduItem(NamedTuple):
    """An event, by its number."""

    pos: int
    event_nid: int


class DeviceItem(NamedTuple):
    """A device of a local user has changed."""

    pos: int
    user_id: UserID
    device_id: DeviceID


class SigningKeyItem(NamedTuple):
    """A local user has other cross-signing keys."""

    pos: int
    user_id: UserID


DurableItem: TypeAlias = PduItem | DeviceItem | SigningKeyItem


class WaitingEdu(NamedTuple):
    """An EDU that is dropped when it gets old; `since` is monotonic."""

    since: float
    edu: Edu


class Outbox:
    """One destination's queue; nothing in it waits or touches a table.

    It is either complete: everything that the destination lacks is in it. Or it is behind: the
    destination lacks what the log has after `cursor`, and the outbox takes only what comes after
    `taking_after`, if that is set.
    """

    # There are as many as servers that are down: half a kB each.
    __slots__ = (
        "cursor",
        "destination",
        "durable",
        "ephemeral",
        "has_failed",
        "has_to_device",
        "max_items",
        "recorded",
        "taking_after",
    )

    def __init__(self, destination: ServerName, *, cursor: int | None = None) -> None:
        self.destination: Final = destination
        self.cursor = cursor
        self.taking_after: int | None = None
        self.durable: list[DurableItem] = []
        # Newest of each kind and subject, the oldest first.
        self.ephemeral: dict[Hashable, WaitingEdu] = {}
        # Messages to devices are in a table of their own.
        self.has_to_device = False
        # The cursor that is in the database, if one is.
        self.recorded: int | None = None
        self.has_failed = False
        # How many items a transaction may have: fewer after one that was refused.
        self.max_items: int | None = None

    @property
    def has_work(self) -> bool:
        """Whether there is something to send."""
        return bool(self.cursor is not None or self.durable or self.ephemeral or self.has_to_device)

    @property
    def lacks_after(self) -> int | None:
        """The position after which the destination lacks something; None: nothing."""
        if self.cursor is not None:
            return self.cursor
        return self.durable[0].pos - 1 if self.durable else None

    def add(self, item: DurableItem) -> None:
        """Take an item; they come in the order of the log."""
        if self.cursor is not None and (self.taking_after is None or item.pos <= self.taking_after):
            return
        if len(self.durable) >= MAX_DURABLE:
            self.fall_behind()
            return
        self.durable.append(item)

    def add_ephemeral(self, key: Hashable, edu: Edu, now: float) -> None:
        """Take an EDU, which replaces the one before of the same key."""
        if self.has_failed:
            return
        self.ephemeral.pop(key, None)
        self.ephemeral[key] = WaitingEdu(now, edu)
        if len(self.ephemeral) > MAX_EPHEMERAL:
            del self.ephemeral[next(iter(self.ephemeral))]

    def fall_behind(self, cursor: int | None = None) -> None:
        """Give up memory: what is lacking is read from the log."""
        if cursor is not None:
            self.cursor = cursor if self.cursor is None else min(self.cursor, cursor)
        elif self.cursor is None:
            self.cursor = self.lacks_after
        self.taking_after = None
        self.durable.clear()

    def first(self, count: int) -> Sequence[DurableItem]:
        """Return the first items."""
        return self.durable[:count]

    def sent(self, items: Sequence[DurableItem]) -> None:
        """Forget items that were the first ones, and are sent."""
        if not items:
            return
        if self.cursor is None:
            del self.durable[: len(items)]
        else:
            # It has fallen behind in the meantime. Others may share the last position.
            self.cursor = max(self.cursor, items[-1].pos - 1)

    def caught_up_to(self, position: int, taking_after: int) -> None:
        """Take note that all up to a position is sent, of what was read up to `taking_after`."""
        if self.cursor is None or position < self.cursor:
            return
        if position >= taking_after and self.taking_after == taking_after:
            self.cursor = self.taking_after = None
        else:
            self.cursor = position
            self.taking_after = None
            self.durable.clear()

    def take_ephemeral(self, count: int, now: float) -> list[tuple[Hashable, WaitingEdu]]:
        """Take out the first EDUs that are not too old."""
        taken: list[tuple[Hashable, WaitingEdu]] = []
        looked_at: list[Hashable] = []
        for key, waiting in self.ephemeral.items():
            if len(taken) >= count:
                break
            looked_at.append(key)
            if now - waiting.since <= MAX_AGE_SECONDS:
                taken.append((key, waiting))
        for key in looked_at:
            del self.ephemeral[key]
        return taken

    def put_back(self, taken: Sequence[tuple[Hashable, WaitingEdu]]) -> None:
        """Put EDUs back that could not be sent, unless there are newer ones."""
        older = {key: waiting for key, waiting in taken if key not in self.ephemeral}
        self.ephemeral = {**older, **self.ephemeral}
