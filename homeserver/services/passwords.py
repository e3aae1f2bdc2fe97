"""Passwords: hashed with bcrypt in threads, a few at a time.

bcrypt takes 72 bytes, so what it gets is a digest: the HMAC-SHA-256 of the password under the
pepper, in base64. A plain bcrypt hash, imported from elsewhere, verifies as well.
"""

import asyncio
import base64
import hmac
import re
import unicodedata
from typing import Final, NamedTuple

import bcrypt

from homeserver.config.sections.passwords import PasswordsSection
from homeserver.errors import LimitExceeded, WeakPassword

# Marks our own scheme in front of the bcrypt hash.
_SCHEME: Final = "sha256-bcrypt:"
_COST: Final = re.compile(r"\$2[aby]\$(\d\d)\$")
_BCRYPT_MAX_BYTES: Final = 72
# bcrypt frees the GIL; more threads than cores only make everything else wait.
_MAX_PARALLEL: Final = 2
# At a quarter of a second each, who comes later would wait longer than clients do.
_MAX_WAITING: Final = 64


class Verdict(NamedTuple):
    """Whether a password is right, and whether its hash should be replaced by a newer kind."""

    is_right: bool
    is_outdated: bool


_WRONG: Final = Verdict(is_right=False, is_outdated=False)


class Passwords:
    """Hashes and verifies passwords."""

    def __init__(self, settings: PasswordsSection, *, max_parallel: int = _MAX_PARALLEL) -> None:
        self._cost = settings.bcrypt_cost
        self._pepper = settings.pepper.reveal() if settings.pepper is not None else ""
        self._min_length = settings.min_length
        self._turns = asyncio.Semaphore(max_parallel)
        self._waiting = 0
        # Well-formed, of the usual cost, and the hash of nothing.
        self._decoy = _SCHEME + bcrypt.gensalt(self._cost).decode() + "." * 31

    def check_strength(self, password: str) -> None:
        """Refuse what may not become a password.

        Raises WeakPassword. Spec: client-server-api/#password-management
        """
        if len(password) < self._min_length:
            raise WeakPassword(f"The password must have at least {self._min_length} characters")

    async def hash(self, password: str) -> str:
        """Return what to store. Raises LimitExceeded: too many wait for a hash."""
        secret = self._digest(password)
        return await self._in_turn(secret, None)

    async def verify(self, password: str, stored: str | None) -> Verdict:
        """Compare a password with what is stored; None: nothing is, but it takes as long.

        Raises LimitExceeded: too many wait for a hash.
        """
        is_own = stored is None or stored.startswith(_SCHEME)
        wanted = (stored or self._decoy).removeprefix(_SCHEME)
        match = _COST.match(wanted)
        if match is None:
            return _WRONG
        secret = self._digest(password) if is_own else self._imported(password)
        found = await self._in_turn(secret, wanted)
        if stored is None or not hmac.compare_digest(found, _SCHEME + wanted):
            return _WRONG
        return Verdict(is_right=True, is_outdated=not is_own or int(match[1]) != self._cost)

    async def _in_turn(self, secret: bytes, salt: str | None) -> str:
        if self._waiting >= _MAX_WAITING:
            raise LimitExceeded(retry_after_ms=5000)
        self._waiting += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(self._bcrypt, secret, salt)
        finally:
            self._waiting -= 1

    def _bcrypt(self, secret: bytes, salt: str | None) -> str:
        chosen = bcrypt.gensalt(self._cost) if salt is None else salt.encode()
        return _SCHEME + bcrypt.hashpw(secret, chosen).decode()

    def _digest(self, password: str) -> bytes:
        digest = hmac.digest(self._pepper.encode(), _normal(password), "sha256")
        return base64.b64encode(digest)

    def _imported(self, password: str) -> bytes:
        return (_normal(password) + self._pepper.encode())[:_BCRYPT_MAX_BYTES]


def _normal(password: str) -> bytes:
    """Bring the same letters, typed on different systems, to the same bytes."""
    return unicodedata.normalize("NFKC", password).encode()
