"""Section `discovery`."""

from typing import Annotated

import msgspec

from homeserver.config.values import Section, about
from homeserver.protocol.json_types import JsonObject


class SupportContact(Section, frozen=True, kw_only=True):
    """Whom to ask for help; an address of at least one kind."""

    role: Annotated[str, about("m.role.admin for anything, m.role.security for what is urgent.")]
    matrix_id: Annotated[str | None, about("User ID, best on another server.")] = None
    email_address: Annotated[str | None, about("E-mail address.")] = None


class DiscoverySection(Section, frozen=True, kw_only=True):
    """What clients find under /.well-known/matrix/. Spec: client-server-api/#server-discovery"""

    client: Annotated[
        JsonObject,
        about(
            "Members of /.well-known/matrix/client beside m.homeserver, such as"
            " {m.identity_server: {base_url: https://id.example.org}}."
        ),
    ] = msgspec.field(default_factory=dict)
    support_contacts: Annotated[
        tuple[SupportContact, ...],
        about("Each has role and matrix_id, email_address, or both."),
    ] = ()
    support_page: Annotated[
        str | None, about("A page that helps users of this server, such as https://example.org/.")
    ] = None
    policy_server_key: Annotated[
        str | None,
        about(
            "The ed25519 public key, in unpadded base64, of the policy server that runs under"
            " this server's name; for /.well-known/matrix/policy_server."
        ),
    ] = None
