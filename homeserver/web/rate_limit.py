"""Rate limits: a token bucket for each group and caller, in memory.

A bucket is one number, the time at which it will be full again ("theoretical arrival
time"): a request moves it on by the price of a token and is refused when that would lead
further ahead than the burst allows. A full bucket equals an absent one, so forgetting is free.
"""

import math
from collections.abc import Callable
from typing import Final, TypeAlias

from homeserver.config.sections.rate_limits import RateLimitSettings, RateLimitsSection
from homeserver.errors import LimitExceeded
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.metrics import Metrics
from homeserver.web.endpoint import RateLimit

# About 20 MB of buckets; more callers than this at a time push out the oldest.
MAX_BUCKETS: Final = 100_000
# Sums of floats: a token that is due now may be a nanosecond short.
_INEXACTNESS: Final = 1e-6


_Key: TypeAlias = tuple[RateLimit, str]


class RateLimiter:
    """Counts requests by group and key: a user ID, an IP address or a server name."""

    def __init__(
        self,
        clock: Clock,
        metrics: Metrics,
        settings: RateLimitsSection,
        *,
        max_buckets: int = MAX_BUCKETS,
    ) -> None:
        self._clock = clock
        self._refused = {group: metrics.rate_limited.labels(group.value) for group in RateLimit}
        self._rates: dict[RateLimit, RateLimitSettings] = {
            group: getattr(settings.groups, group.value) for group in RateLimit
        }
        self._is_enabled = settings.enabled
        self._max_buckets = max_buckets
        # In seconds of the monotonic clock: when each bucket is full again.
        self._full_at: dict[_Key, float] = {}
        self._follower: Callable[[RateLimit, str], None] | None = None

    def follow(self, follower: Callable[[RateLimit, str], None]) -> None:
        """Have everything told that is taken."""
        self._follower = follower

    def take(self, group: RateLimit, key: str) -> None:
        """Take one token. Raises LimitExceeded: the bucket is empty; nothing is taken."""
        if not self._is_enabled:
            return
        rate = self._rates[group]
        price = 1.0 / rate.per_second
        now = self._clock.monotonic()
        full_at = max(self._full_at.get((group, key), now), now) + price
        wait = full_at - now - rate.burst * price
        if wait > _INEXACTNESS:
            self._refused[group].inc()
            raise LimitExceeded(retry_after_ms=math.ceil(wait * 1000))
        self._remember((group, key), full_at, now)
        if self._follower is not None:
            self._follower(group, key)

    def check(self, group: RateLimit, key: str) -> None:
        """Raise LimitExceeded if a token could not be taken; nothing is taken."""
        full_at = self._full_at.get((group, key))
        if not self._is_enabled or full_at is None:
            return
        rate = self._rates[group]
        price = 1.0 / rate.per_second
        wait = full_at - self._clock.monotonic() + price - rate.burst * price
        if wait > _INEXACTNESS:
            self._refused[group].inc()
            raise LimitExceeded(retry_after_ms=math.ceil(wait * 1000))

    def taken_elsewhere(self, group: RateLimit, key: str, count: int) -> None:
        """Take tokens that another node has given, at most as many as there are."""
        if not self._is_enabled:
            return
        rate = self._rates[group]
        now = self._clock.monotonic()
        full_at = max(self._full_at.get((group, key), now), now) + count / rate.per_second
        empty = now + rate.burst / rate.per_second
        self._remember((group, key), min(full_at, empty), now)

    def _remember(self, key: _Key, full_at: float, now: float) -> None:
        if len(self._full_at) >= self._max_buckets and key not in self._full_at:
            self._make_room(now)
        self._full_at[key] = full_at

    def _make_room(self, now: float) -> None:
        kept = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
        # Dropping a tenth at least keeps the cost of a new caller constant on average.
        surplus = len(kept) - self._max_buckets * 9 // 10
        for key in list(kept)[: max(surplus, 0)]:
            del kept[key]
        self._full_at = kept
