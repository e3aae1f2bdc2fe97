"""Section `single_sign_on`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec

from homeserver.config.values import IpRange, Secret, Section, about

SignatureAlgorithm: TypeAlias = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
]


class Provider(Section, frozen=True, kw_only=True):
    """What the providers of all kinds have in common."""

    id: Annotated[
        str,
        about("A name that never changes: it says whose accounts are whose. Letters, digits, -._~"),
    ]
    name: Annotated[str, about("What users see on the button.")]
    icon: Annotated[str | None, about("An mxc:// address of a picture for the button.")] = None
    brand: Annotated[
        str | None, about("What clients may show instead of the picture, such as github.")
    ] = None
    registration_enabled: Annotated[
        bool, about("Whether somebody who has no account yet gets one.")
    ] = True
    allow_existing_users: Annotated[
        bool,
        about(
            "Whether an account that has the name already, and belongs to no other identity of"
            " this provider, is taken over at the first login. Only for providers that give names"
            " to nobody but their owners."
        ),
    ] = False
    asks_username: Annotated[
        bool, about("Whether new users may change the name that the provider suggests.")
    ] = False
    localpart_template: Annotated[
        str | None,
        about(
            "The name of a new account, in jinja2 over `user`, what the provider tells. Empty"
            " result: the user chooses."
        ),
    ] = None
    display_name_template: Annotated[
        str | None, about("The display name of a new account, in jinja2.")
    ] = None
    email_template: Annotated[
        str | None, about("An e-mail address of a new account, in jinja2.")
    ] = None
    emails_are_verified: Annotated[
        bool,
        about(
            "Whether the provider tells verified addresses only. When off, those count for which"
            " it says so (`email_verified`)."
        ),
    ] = False
    required_attributes: Annotated[
        Mapping[str, str],
        about("What has to be told of a user, by name, such as {groups: staff}; all of it."),
    ] = msgspec.field(default_factory=dict)


class OidcProvider(Provider, frozen=True, kw_only=True):
    """A provider of OpenID Connect."""

    issuer: Annotated[str, about("Its address, exactly as in its tokens.")]
    client_id: Annotated[str, about("What it calls this server.")]
    client_secret: Annotated[
        Secret | None, about("The password of this server there; absent for a public client.")
    ] = None
    client_secret_file: Annotated[Path | None, about("File that holds the secret instead.")] = None
    client_authentication: Annotated[
        Literal["client_secret_basic", "client_secret_post"],
        about("How the password is sent."),
    ] = "client_secret_basic"
    scopes: Annotated[tuple[str, ...], about("What is asked for, openid among it.")] = (
        "openid",
        "profile",
        "email",
    )
    discovery_enabled: Annotated[
        bool, about("Whether the addresses below, if absent, are read from the issuer.")
    ] = True
    authorization_endpoint: Annotated[str | None, about("Where browsers are sent.")] = None
    token_endpoint: Annotated[str | None, about("Where codes are exchanged.")] = None
    jwks_uri: Annotated[str | None, about("Where the keys are that sign tokens.")] = None
    userinfo_endpoint: Annotated[str | None, about("Where more is told of a user.")] = None
    userinfo_enabled: Annotated[
        bool, about("Whether that is asked; often the token tells enough.")
    ] = False
    id_token_algorithms: Annotated[
        tuple[SignatureAlgorithm, ...], about("Which signatures of tokens are accepted.")
    ] = ("RS256", "ES256")
    subject_claim: Annotated[
        str, about("The claim that identifies a user for good; rarely not sub.")
    ] = "sub"
    localpart_template: str | None = "{{ user.preferred_username }}"
    display_name_template: str | None = "{{ user.name }}"
    email_template: str | None = "{{ user.email }}"


class CasProvider(Provider, frozen=True, kw_only=True):
    """A Central Authentication Service. In templates its user name is `user.user`."""

    server_url: Annotated[str, about("Where it is, such as https://cas.example.org/cas.")]
    protocol_version: Annotated[
        Literal[2, 3], about("3 (p3/serviceValidate) tells attributes everywhere.")
    ] = 3
    localpart_template: str | None = "{{ user.user }}"


class SingleSignOnSection(Section, frozen=True, kw_only=True):
    """Login through providers of identities: OpenID Connect and CAS.

    They send browsers back to
    <public_base_url>/_matrix/client/unstable/org.homeserver/single_sign_on/callback.
    """

    oidc_providers: Annotated[
        tuple[OidcProvider, ...],
        about(
            "Each has id, name, issuer, client_id, client_secret; templates over the claims of"
            " the ID token; more in docs/single-sign-on.md."
        ),
    ] = ()
    cas_providers: Annotated[
        tuple[CasProvider, ...],
        about("Each has id, name and server_url; templates over `user.user` and attributes."),
    ] = ()
    trusted_client_urls: Annotated[
        tuple[str, ...],
        about(
            "Clients that are logged in without asking the user for each: addresses such as"
            " https://app.example.org/ with all below them."
        ),
    ] = ()
    login_token_lifetime_ms: Annotated[
        int,
        about(
            "How long a client may take from there to here; some ask before they open.",
            ge=1_000,
            le=600_000,
        ),
    ] = 10_000
    flow_lifetime_ms: Annotated[
        int, about("How long a user may take at the provider and on our pages.", ge=60_000)
    ] = 900_000
    allowed_ip_ranges: Annotated[
        tuple[IpRange, ...],
        about(
            "Addresses of providers in your own network, which are contacted in spite of"
            " outgoing_http."
        ),
    ] = ()
