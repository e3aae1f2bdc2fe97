"""Token buckets by group and caller."""

import pytest

from homeserver.config.sections.rate_limits import (
    RateLimitGroups,
    RateLimitSettings,
    RateLimitsSection,
)
from homeserver.errors import LimitExceeded
from homeserver.telemetry.metrics import Metrics
from homeserver.web.endpoint import RateLimit
from homeserver.web.rate_limit import RateLimiter
from tests.support.clock import FakeClock

LOGIN, JOIN = RateLimit.LOGIN, RateLimit.JOIN


def limits(per_second: float, burst: int, *, enabled: bool = True) -> RateLimitsSection:
    settings = RateLimitSettings(per_second=per_second, burst=burst)
    return RateLimitsSection(enabled=enabled, groups=RateLimitGroups(login=settings))


def limiter(clock: FakeClock, section: RateLimitsSection, max_buckets: int = 10) -> RateLimiter:
    return RateLimiter(clock, Metrics(), section, max_buckets=max_buckets)


def refused(limited: RateLimiter, key: str = "a") -> LimitExceeded:
    with pytest.raises(LimitExceeded) as caught:
        limited.take(LOGIN, key)
    return caught.value


def test_a_burst_is_allowed_and_then_refused() -> None:
    limited = limiter(FakeClock(), limits(per_second=2, burst=3))
    for _ in range(3):
        limited.take(LOGIN, "a")
    refusal = refused(limited)
    assert refusal.retry_after_ms == 500
    assert refusal.headers == {"Retry-After": "1"}


def test_waiting_as_long_as_told_is_enough() -> None:
    clock = FakeClock()
    limited = limiter(clock, limits(per_second=0.3, burst=1))
    limited.take(LOGIN, "a")
    for _ in range(20):
        clock.tick(refused(limited).retry_after_ms / 1000)
        limited.take(LOGIN, "a")


def test_a_refused_request_costs_nothing() -> None:
    clock = FakeClock()
    limited = limiter(clock, limits(per_second=1, burst=1))
    limited.take(LOGIN, "a")
    for _ in range(5):
        refused(limited)
    clock.tick(1)
    limited.take(LOGIN, "a")


def test_the_bucket_holds_no_more_than_the_burst() -> None:
    clock = FakeClock()
    limited = limiter(clock, limits(per_second=1, burst=2))
    clock.tick(1_000_000)
    limited.take(LOGIN, "a")
    limited.take(LOGIN, "a")
    refused(limited)


def test_callers_and_groups_have_buckets_of_their_own() -> None:
    limited = limiter(FakeClock(), limits(per_second=1, burst=1))
    limited.take(LOGIN, "a")
    limited.take(LOGIN, "b")
    limited.take(JOIN, "a")
    refused(limited)


def test_one_switch_turns_all_limits_off() -> None:
    limited = limiter(FakeClock(), limits(per_second=1, burst=1, enabled=False))
    for _ in range(100):
        limited.take(LOGIN, "a")


def test_refusals_are_counted_by_group() -> None:
    metrics = Metrics()
    limited = RateLimiter(FakeClock(), metrics, limits(per_second=1, burst=1))
    limited.take(LOGIN, "a")
    refused(limited)
    counted = metrics.registry.get_sample_value(
        "homeserver_rate_limited_requests_total", {"group": "login"}
    )
    assert counted == 1


def test_buckets_that_filled_up_make_room_for_others() -> None:
    clock = FakeClock()
    limited = limiter(clock, limits(per_second=1, burst=1), max_buckets=10)
    for number in range(10):
        limited.take(LOGIN, str(number))
    clock.tick(2)
    limited.take(LOGIN, "busy")
    limited.take(LOGIN, "0")
    refused(limited, "busy")


def test_memory_is_bounded_whoever_comes() -> None:
    limited = limiter(FakeClock(), limits(per_second=1, burst=1), max_buckets=10)
    for number in range(1000):
        limited.take(LOGIN, str(number))
        assert len(limited._full_at) <= 10
    refused(limited, "999")


def test_what_another_node_has_given_is_taken_here_but_no_more_than_there_is() -> None:
    clock = FakeClock()
    limited = limiter(clock, limits(per_second=1, burst=3))
    limited.taken_elsewhere(LOGIN, "a", 2)
    limited.take(LOGIN, "a")
    assert refused(limited).retry_after_ms == 1000
    limited.taken_elsewhere(LOGIN, "a", 1000)
    assert refused(limited).retry_after_ms == 1000
    limited.take(LOGIN, "b")


def test_nothing_is_taken_where_limits_are_off() -> None:
    limited = limiter(FakeClock(), limits(per_second=1, burst=1, enabled=False))
    limited.taken_elsewhere(LOGIN, "a", 5)
    limited.take(LOGIN, "a")


def test_looking_takes_nothing_and_says_what_taking_would() -> None:
    clock = FakeClock()
    limited = limiter(clock, limits(per_second=2, burst=3))
    for _ in range(3):
        limited.check(LOGIN, "a")
        limited.check(LOGIN, "a")
        limited.take(LOGIN, "a")
    with pytest.raises(LimitExceeded) as caught:
        limited.check(LOGIN, "a")
    assert caught.value.retry_after_ms == refused(limited).retry_after_ms
    limited.check(LOGIN, "b")
    clock.tick(0.5)
    limited.check(LOGIN, "a")


def test_looking_refuses_nothing_when_limits_are_off() -> None:
    limited = limiter(FakeClock(), limits(per_second=1, burst=1, enabled=False))
    limited.taken_elsewhere(LOGIN, "a", 5)
    limited.check(LOGIN, "a")
