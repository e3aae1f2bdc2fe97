"""Requests whose signers are not known yet, by address."""

import asyncio
from contextlib import ExitStack

import pytest

from homeserver.config.sections.rate_limits import (
    RateLimitGroups,
    RateLimitSettings,
    RateLimitsSection,
)
from homeserver.errors import LimitExceeded, MatrixError
from homeserver.telemetry.metrics import Metrics
from homeserver.web.rate_limit import RateLimiter
from homeserver.web.unverified import MAX_AT_ONCE, MAX_BYTES, UnverifiedRequests
from tests.support.clock import FakeClock


@pytest.fixture
def unverified() -> UnverifiedRequests:
    groups = RateLimitGroups(unsigned=RateLimitSettings(per_second=1, burst=2))
    return UnverifiedRequests(RateLimiter(FakeClock(), Metrics(), RateLimitsSection(groups=groups)))


def test_one_address_has_only_so_many_at_once(unverified: UnverifiedRequests) -> None:
    with ExitStack() as begun:
        for _ in range(MAX_AT_ONCE):
            begun.enter_context(unverified.verifying("9.9.9.9"))
        with pytest.raises(LimitExceeded), unverified.verifying("9.9.9.9"):
            pass
        with unverified.verifying("9.9.9.8"):
            pass
    with unverified.verifying("9.9.9.9"):
        pass


def test_who_leaves_before_the_end_has_failed(unverified: UnverifiedRequests) -> None:
    for _ in range(2):
        with pytest.raises(asyncio.CancelledError), unverified.verifying("9.9.9.9"):
            raise asyncio.CancelledError
    with pytest.raises(LimitExceeded), unverified.verifying("9.9.9.9"):
        pass


def test_all_together_have_only_so_many_bytes_in_memory(unverified: UnverifiedRequests) -> None:
    with unverified.verifying("9.9.9.9") as hold:
        hold(MAX_BYTES - 10)
        # This server cannot take it: nobody has failed.
        for _ in range(5):
            with pytest.raises(MatrixError) as caught, unverified.verifying("9.9.9.8") as hold_too:
                hold_too(11)
            assert caught.value.status == 503
    with unverified.verifying("9.9.9.8") as hold:
        hold(MAX_BYTES)
