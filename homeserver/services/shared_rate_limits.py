"""Rate limits for all nodes together, nearly.

Exact ones would cost a request to Redis for every request of a client. Instead a node tells the
others twice a second, in one message, what has been taken here from which buckets, and they take
it from theirs. So whoever asks several nodes at once has their bursts for half a second, and then
what one node would give. A message that is lost makes the limits wider, never narrower.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from homeserver.streams.bus import Bus
from homeserver.telemetry.log import get_logger
from homeserver.web.endpoint import RateLimit
from homeserver.web.rate_limit import RateLimiter

log = get_logger(__name__)

TELL_SECONDS: Final = 0.5
# What is taken from more buckets than this in between is not told: a message stays below 500 kB.
_MAX_TOLD: Final = 5_000
_PREFIX: Final = b"taken "


class _Taken(msgspec.Struct, frozen=True, array_like=True):
    """So many tokens from the bucket of a caller."""

    group: RateLimit
    key: str
    count: Annotated[int, Meta(ge=1)]


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """What has been taken on a node since its last message."""

    node_id: str
    taken: list[_Taken]


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Message).decode


class SharedRateLimits:
    """Tells other nodes what is taken here, and takes what others tell."""

    def __init__(self, limiter: RateLimiter, bus: Bus, *, node_id: str) -> None:
        self._limiter = limiter
        self._bus = bus
        self._node_id = node_id
        self._taken: dict[tuple[RateLimit, str], int] = {}
        limiter.follow(self._take)

    async def tell(self) -> None:
        """Tell what has been taken since the last time; to be called every TELL_SECONDS."""
        if not self._taken:
            return
        taken = [_Taken(group, key, count) for (group, key), count in self._taken.items()]
        self._taken = {}
        self._bus.tell(_PREFIX + _encode(_Message(self._node_id, taken)))

    def heard(self, data: bytes) -> bool:
        """Take what another node tells; False: the message is about something else."""
        if not data.startswith(_PREFIX):
            return False
        try:
            message = _decode(data[len(_PREFIX) :])
        except msgspec.MsgspecError as error:
            log.warning("message on the bus is not understood", error=str(error))
            return True
        if message.node_id != self._node_id:
            for each in message.taken:
                self._limiter.taken_elsewhere(each.group, each.key, each.count)
        return True

    def _take(self, group: RateLimit, key: str) -> None:
        count = self._taken.get((group, key), 0)
        if count or len(self._taken) < _MAX_TOLD:
            self._taken[group, key] = count + 1
