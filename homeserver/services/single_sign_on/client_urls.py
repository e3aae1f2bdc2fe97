"""Where browsers are sent after a login: addresses that clients give."""

import re
import string
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, unquote_plus, urlsplit

from homeserver.errors import InvalidParam

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
# Schemes that browsers act upon themselves; no application has them.
_FORBIDDEN_SCHEMES: Final = frozenset(
    ("about", "blob", "data", "file", "filesystem", "javascript", "vbscript", "view-source")
)
_WEB_SCHEMES: Final = frozenset(("http", "https"))
_MAX_LENGTH: Final = 4096
_TOKEN_NAME: Final = "loginToken"  # noqa: S105 - a name, no secret
_ASCII: Final = "".join(each for each in string.printable if not each.isspace())


class ClientUrls:
    """Checks the addresses of clients, and knows those that are trusted."""

    def __init__(self, trusted: Iterable[str]) -> None:
        """`trusted`: addresses, each with all that is below it."""
        self._trusted = [urlsplit(url) for url in trusted]

    def check(self, url: str) -> str:
        """Return an address in ASCII. Raises InvalidParam: no browser may be sent there."""
        if len(url) > _MAX_LENGTH:
            raise InvalidParam(f"redirectUrl is longer than {_MAX_LENGTH} characters")
        if any(each.isspace() or not each.isprintable() or each == "\\" for each in url):
            raise InvalidParam("redirectUrl has characters that no address has")
        try:
            parts = urlsplit(url)
            host = parts.hostname
            # Raises ValueError: it is no number, or out of range.
            _ = parts.port
        except ValueError as error:
            raise InvalidParam("redirectUrl is no address") from error
        if not _SCHEME.fullmatch(parts.scheme) or ":" not in url:
            raise InvalidParam("redirectUrl must be an absolute address")
        if parts.scheme in _FORBIDDEN_SCHEMES:
            raise InvalidParam("redirectUrl has a scheme that is not allowed")
        if "@" in parts.netloc:
            raise InvalidParam("redirectUrl names a user")
        if parts.scheme in _WEB_SCHEMES and not host:
            raise InvalidParam("redirectUrl names no host")
        return quote(url, safe=_ASCII)

    def is_trusted(self, url: str) -> bool:
        """Whether an address that was checked is at or below one that is trusted."""
        parts = urlsplit(url)
        if any(segment in (".", "..") for segment in unquote_plus(parts.path).split("/")):
            return False
        return any(
            (parts.scheme, parts.netloc.lower()) == (each.scheme, each.netloc.lower())
            and _is_below(parts.path, each.path)
            for each in self._trusted
        )


def with_login_token(url: str, token: str) -> str:
    """Add a token to an address, in place of any that is there."""
    rest, hash_sign, fragment = url.partition("#")
    base, _, query = rest.partition("?")
    kept = [
        part
        for part in query.split("&")
        if part and unquote_plus(part.partition("=")[0]) != _TOKEN_NAME
    ]
    kept.append(f"{_TOKEN_NAME}={quote(token, safe='')}")
    return f"{base}?{'&'.join(kept)}{hash_sign}{fragment}"


def shown_to_users(url: str) -> str:
    """Return what people can judge of an address: its host, or its scheme."""
    parts = urlsplit(url)
    if parts.scheme in _WEB_SCHEMES:
        return f"{parts.scheme}://{parts.netloc}"
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"{parts.scheme}:"


def _is_below(path: str, trusted: str) -> bool:
    folder = trusted.rstrip("/")
    return path in (trusted, folder) or path.startswith(f"{folder}/") or not folder
