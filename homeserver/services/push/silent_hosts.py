"""Which gateways do not answer at all, so that nobody waits for them in vain.

A gateway that is gone would else hold a connection for each of its pushers until the time is
over, and leave none for the others.
"""

from collections import OrderedDict
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from homeserver.protocol.backoff import retry_delay_ms
from homeserver.telemetry.clock import Clock

# Fewer may be bad luck.
FAILURES: Final = 5
MAX_PAUSE_SECONDS: Final = 60.0
MAX_HOSTS: Final = 10_000


class _Silence(NamedTuple):
    failures: int
    until: float


class SilentHosts:
    """Remembers hosts that have not answered several times in a row; memory of this node."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hosts: OrderedDict[str, _Silence] = OrderedDict()

    def is_silent(self, url: str) -> bool:
        """Whether to leave the host of a URL alone for now."""
        known = self._hosts.get(_host_of(url))
        return known is not None and self._clock.monotonic() < known.until

    def answered(self, url: str) -> None:
        """Take note that a host has answered, whatever it was."""
        self._hosts.pop(_host_of(url), None)

    def failed(self, url: str) -> None:
        """Take note that a host has not answered."""
        host = _host_of(url)
        known = self._hosts.pop(host, None)
        failures = known.failures + 1 if known is not None else 1
        pause = 0.0
        if failures >= FAILURES:
            pause = min(retry_delay_ms(failures - FAILURES + 1, 0.0) / 1000, MAX_PAUSE_SECONDS)
        self._hosts[host] = _Silence(failures, self._clock.monotonic() + pause)
        if len(self._hosts) > MAX_HOSTS:
            self._hosts.popitem(last=False)


def _host_of(url: str) -> str:
    return urlsplit(url).netloc.lower()
