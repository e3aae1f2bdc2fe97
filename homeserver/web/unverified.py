"""Requests of other servers of which nobody knows yet who has made them.

Whoever fails too often, or makes too many such requests at once, is refused before a key is
fetched or a body is read. A server whose signatures are good is never counted.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import Final

from homeserver.errors import LimitExceeded, MatrixError
from homeserver.web.connection import rate_limit_key
from homeserver.web.endpoint import RateLimit
from homeserver.web.rate_limit import RateLimiter

# Verified within milliseconds once the keys are known. Half of the keys that may be fetched at
# once for requests: one address cannot have them all.
MAX_AT_ONCE: Final = 100
# Of bodies as they come, decompressed; 25 transactions at their largest.
MAX_BYTES: Final = 256 * 1024 * 1024
_BUSY_MS: Final = 1_000
# Forbidden: the server may be who it says, and others may share its address. Service
# Unavailable: it is this server that cannot tell.
_NOT_COUNTED: Final = frozenset({403, 503})


class UnverifiedRequests:
    """Counts by address what could not be verified, and what is being verified."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter
        self._at_once: Counter[str] = Counter()
        self._bytes = 0

    @contextmanager
    def verifying(self, ip: str) -> Iterator[Callable[[int], None]]:
        """Surround the verification of a request; call what is given for what is read of it.

        Raises LimitExceeded: it shall not begin. Reading raises MatrixError 503: all such
        requests together have too many bytes in memory.
        """
        held_bytes = 0

        def hold(count: int) -> None:
            nonlocal held_bytes
            if self._bytes + count > MAX_BYTES:
                raise MatrixError(503, "M_UNKNOWN", "Too much arrives at this moment, try again")
            self._bytes += count
            held_bytes += count

        try:
            with self._counted(_public(ip)):
                yield hold
        finally:
            self._bytes -= held_bytes

    @contextmanager
    def _counted(self, key: str | None) -> Iterator[None]:
        if key is None:
            yield
            return
        self._limiter.check(RateLimit.UNSIGNED, key)
        if self._at_once[key] >= MAX_AT_ONCE:
            raise LimitExceeded(retry_after_ms=_BUSY_MS)
        self._at_once[key] += 1
        try:
            yield
        except (MatrixError, asyncio.CancelledError) as error:
            # Who leaves has made this server fetch keys all the same.
            if not isinstance(error, MatrixError) or error.status not in _NOT_COUNTED:
                with suppress(LimitExceeded):
                    self._limiter.take(RateLimit.UNSIGNED, key)
            raise
        finally:
            self._at_once[key] -= 1
            if not self._at_once[key]:
                del self._at_once[key]


def _public(ip: str) -> str | None:
    """Return what counts as one caller; None for what a proxy has that is not trusted.

    Then everybody has the same address, and one of them could shut out the others.
    """
    try:
        return rate_limit_key(ip) if ip_address(ip).is_global else None
    except ValueError:
        return None
