"""Which servers this one talks with, in both directions."""

from homeserver.config.sections.federation import FederationSection
from homeserver.protocol.glob import GlobSet, compile_globs
from homeserver.protocol.identifiers import ServerName, split_server_name


class FederationPolicy:
    """The lists of allowed and blocked servers; what is blocked wins."""

    def __init__(self, settings: FederationSection, own_name: ServerName) -> None:
        self._own_name = own_name
        self._is_enabled = settings.enabled
        self._allowed: GlobSet | None = (
            None if settings.allow is None else compile_globs(settings.allow)
        )
        self._blocked = compile_globs(settings.block)

    def may_talk_to(self, server: ServerName) -> bool:
        """Whether a server may be asked and may ask; never for the name of this server.

        Patterns are held against the name with its port and without.
        """
        if not self._is_enabled or server == self._own_name:
            return False
        names = {server, split_server_name(server)[0]}
        if any(map(self._blocked.matches, names)):
            return False
        return self._allowed is None or any(map(self._allowed.matches, names))
