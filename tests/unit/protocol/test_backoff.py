"""The wait between attempts at a destination."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.protocol.backoff import retry_delay_ms

DAY_MS = 24 * 60 * 60 * 1_000


@pytest.mark.parametrize(
    ("failures", "delay_ms"),
    [(1, 1_000), (2, 2_000), (3, 4_000), (10, 512_000), (17, 65_536_000), (18, DAY_MS)],
)
def test_the_wait_doubles_up_to_a_day(failures: int, delay_ms: int) -> None:
    assert retry_delay_ms(failures, jitter=0.0) == delay_ms


def test_any_number_of_failures_waits_a_day_at_most() -> None:
    assert retry_delay_ms(10**9, jitter=0.0) == DAY_MS


@pytest.mark.parametrize("failures", [0, -1])
def test_no_failures_wait_like_one(failures: int) -> None:
    assert retry_delay_ms(failures, jitter=0.0) == 1_000


def test_jitter_takes_up_to_half() -> None:
    assert retry_delay_ms(1, jitter=0.5) == 750
    assert retry_delay_ms(1, jitter=1.0) == 500


@settings(deadline=None, database=None)
@given(failures=st.integers(-5, 100), jitter=st.floats(0, 1))
def test_the_wait_is_never_under_half_a_second(failures: int, jitter: float) -> None:
    delay_ms = retry_delay_ms(failures, jitter)
    assert 500 <= delay_ms <= DAY_MS
    assert delay_ms >= retry_delay_ms(failures, jitter=0.0) / 2
