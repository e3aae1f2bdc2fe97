"""Section `third_party_ids`."""

from typing import Annotated

from homeserver.config.values import Section, about


class ThirdPartyIdsSection(Section, frozen=True, kw_only=True):
    """The e-mail addresses of users. Their verification needs section email."""

    changes_enabled: Annotated[
        bool, about("Whether users may add addresses to their accounts and remove them.")
    ] = True
    allowed_addresses: Annotated[
        tuple[str, ...],
        about(
            "Which addresses users may have: patterns with * and ?, such as *@example.org."
            " Empty: any."
        ),
    ] = ()
    accounts_concealed: Annotated[
        bool,
        about(
            "Whether nobody but the owner of an address learns, by an e-mail, whether an account"
            " has it. When off, requests to verify an address tell it at once."
        ),
    ] = True
    next_link_hosts: Annotated[
        tuple[str, ...],
        about(
            "Where browsers may be led after a verification, if the client asks for it: host"
            " names. Elsewhere they stay on a page of this server."
        ),
    ] = ()
    identity_servers: Annotated[
        tuple[str, ...],
        about(
            "The identity servers that users may use, to be found or to invite by an address:"
            " patterns with * and ?. They learn who invites whom. Empty: none."
        ),
    ] = ("matrix.org", "vector.im")
