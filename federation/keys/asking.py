"""For whom servers are asked for their keys, and how many of them at once.

Anybody can name servers that do not exist, or take their time to answer.
"""

from collections import Counter
from enum import Enum, auto
from typing import Final

from federation.transport.connections import is_ip_literal
from homeserver.errors import MatrixError
from homeserver.protocol.identifiers import ServerName, split_server_name

MAX_AT_ONCE: Final = 200
# Who owns a domain can make up any number of names.
MAX_OF_ONE_DOMAIN: Final = 20
_ADDRESSES: Final = "addresses"


class Cause(Enum):
    """Why a server is asked for its keys."""

    # It seems to have signed a request; nobody knows yet.
    REQUEST = auto()
    # Somebody wants this server to vouch for the keys.
    QUERY = auto()
    # It has signed an event, which has been had from a server that is known.
    EVENT = auto()


class KeysBusy(MatrixError):
    """So many servers are being asked for keys that one more is not."""

    def __init__(self) -> None:
        super().__init__(503, "M_UNKNOWN", "Too many keys are being fetched, try again")


class AskedForStrangers:
    """The servers that are being asked because of requests that anybody can make."""

    def __init__(self) -> None:
        self._count = 0
        self._of_domain: Counter[str] = Counter()

    def begin(self, server: ServerName) -> bool:
        """Whether one more may be asked; it counts until `end` is called."""
        domain = _domain(server)
        if self._count >= MAX_AT_ONCE or self._of_domain[domain] >= MAX_OF_ONE_DOMAIN:
            return False
        self._count += 1
        self._of_domain[domain] += 1
        return True

    def end(self, server: ServerName) -> None:
        """Take note that a server is not being asked any more."""
        domain = _domain(server)
        self._count -= 1
        self._of_domain[domain] -= 1
        if not self._of_domain[domain]:
            del self._of_domain[domain]


def _domain(server: ServerName) -> str:
    """Return what may have one owner: the last two labels, or all IP addresses together."""
    host, _ = split_server_name(server)
    if is_ip_literal(host.removeprefix("[").removesuffix("]")):
        return _ADDRESSES
    return ".".join(host.lower().rsplit(".", 2)[-2:])
