"""Which URLs may be previewed. Addresses are checked when a connection is made, not here."""

from typing import Final

from yarl import URL

from homeserver.config.sections.url_previews import UrlPreviewsSection
from homeserver.errors import Forbidden, InvalidParam
from homeserver.protocol.glob import GlobSet, compile_globs

# As long as common servers and browsers take.
_MAX_URL: Final = 8000
_SCHEMES: Final = frozenset(("http", "https"))
# Nobody serves pages at the ports of mail and other old protocols, but much can be done there.
_FIRST_FREE_PORT: Final = 1024
_WEB_PORTS: Final = frozenset((80, 443))


class UrlRules:
    """The rules of the configuration, and those that always hold."""

    def __init__(self, settings: UrlPreviewsSection) -> None:
        self._allowed = _Patterns(settings.allowed_hosts) if settings.allowed_hosts else None
        self._blocked = _Patterns(settings.blocked_hosts)

    def parse(self, text: str) -> URL:
        """Return a URL of a user without its fragment.

        Raises InvalidParam: it is none; Forbidden: it may not be previewed.
        """
        try:
            url = URL(text)
            if len(text) > _MAX_URL or not url.host or url.scheme not in _SCHEMES:
                raise ValueError
        except ValueError as error:
            raise InvalidParam("url must be an absolute http or https URL") from error
        url = url.with_fragment(None)
        self.check(url)
        return url

    def check(self, url: URL) -> None:
        """Raise Forbidden: the URL, of a user or of a redirect, may not be fetched."""
        host = (url.raw_host or "").lower().rstrip(".")
        if url.scheme not in _SCHEMES or not host or len(str(url)) > _MAX_URL:
            raise Forbidden("This URL is not previewed")
        # With a password in it a page is nobody else's business.
        if url.raw_user is not None or url.raw_password is not None:
            raise Forbidden("URLs with a user name or password are not previewed")
        port = url.port
        if port is None or (port < _FIRST_FREE_PORT and port not in _WEB_PORTS):
            raise Forbidden("This port is not previewed")
        place = f"{host}{url.path}"
        if self._blocked.match(host, place):
            raise Forbidden("This site is not previewed")
        if self._allowed is not None and not self._allowed.match(host, place):
            raise Forbidden("This site is not previewed")


class _Patterns:
    """Patterns for hosts, and those with a slash for hosts with paths."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._hosts: GlobSet = compile_globs(each for each in patterns if "/" not in each)
        self._places: GlobSet = compile_globs(each for each in patterns if "/" in each)

    def match(self, host: str, place: str) -> bool:
        return self._hosts.matches(host) or self._places.matches(place)
