"""How long to leave a server alone after failures."""

from typing import Final

_FIRST_DELAY_MS: Final = 1_000
_MAX_DELAY_MS: Final = 24 * 60 * 60 * 1_000
# The first power of two at which the delay is over its limit; a larger one would only cost time.
_MAX_DOUBLINGS: Final = (_MAX_DELAY_MS // _FIRST_DELAY_MS).bit_length()


def retry_delay_ms(failures: int, jitter: float) -> int:
    """Return the wait before the next attempt at a destination.

    Doubles from 1,000 ms per failure in a row (fewer than one counts as one), at most 24 h.
    `jitter`, a random number from 0 to 1, takes up to half of it away, so that destinations that
    failed together do not come back together. Always positive. Not in the specification: our
    choice (ADR 0009).
    """
    doublings = min(max(failures, 1) - 1, _MAX_DOUBLINGS)
    delay_ms = min(_FIRST_DELAY_MS << doublings, _MAX_DELAY_MS)
    return delay_ms - int(delay_ms * jitter / 2)
