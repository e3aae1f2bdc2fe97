"""Which servers a room lets in.

Spec: client-server-api/#server-access-control-lists-acls-for-rooms
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from homeserver.protocol.glob import GlobSet, compile_globs
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.json_types import JsonObject, JsonValue

_PORT: Final = re.compile(r":[0-9]{1,5}\Z")
# appendices/#server-name: the grammar alone decides, so `999.1.1.1` is a (wrong) literal too
_IPV4_LITERAL: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}\Z")


class ServerAcl(msgspec.Struct, frozen=True):
    """Which servers may take part in a room. Checking one costs microseconds; keep it parsed."""

    allow: GlobSet
    deny: GlobSet
    allow_ip_literals: bool

    def allows(self, server_name: ServerName) -> bool:
        """Apply the list to a server name; its port does not count."""
        host = _PORT.sub("", server_name)
        # 2. "If the server name is an IP address literal, and allow_ip_literals is false, deny."
        if not self.allow_ip_literals and _is_ip_literal(host):
            return False
        # 3. "If the server name matches an entry in the deny list, deny."
        if self.deny.matches(host):
            return False
        # 4. and 5. "… matches an entry in the allow list, allow. Otherwise, deny."
        return self.allow.matches(host)


def parse_server_acl(content: JsonObject | None) -> ServerAcl:
    """Read the content of `m.room.server_acl`, or None where the room has no such event.

    Values of a wrong type count as missing: a missing `allow` denies every server.
    """
    if content is None:
        # 1. "If there is no m.room.server_acl event in the room state, allow."
        content = {"allow": ["*"]}
    allow_ip_literals = content.get("allow_ip_literals")
    return ServerAcl(
        allow=compile_globs(_patterns(content.get("allow"))),
        deny=compile_globs(_patterns(content.get("deny"))),
        allow_ip_literals=allow_ip_literals is not False,
    )


def _patterns(value: JsonValue) -> Sequence[str]:
    entries = value if isinstance(value, list) else []
    return [entry for entry in entries if isinstance(entry, str)]


def _is_ip_literal(host: str) -> bool:
    return host.startswith("[") or _IPV4_LITERAL.match(host) is not None
