"""Section `jwt`."""

from pathlib import Path
from typing import Annotated, Literal

from homeserver.config.values import Secret, Section, about


class JwtSection(Section, frozen=True, kw_only=True):
    """Login with a JSON Web Token that another system signed (org.matrix.login.jwt)."""

    enabled: Annotated[bool, about("Whether such tokens are accepted.")] = False
    secret: Annotated[
        Secret | None,
        about("The shared secret (HS…), or the public key in PEM (RS…, ES…, EdDSA)."),
    ] = None
    secret_file: Annotated[
        Path | None, about("File that holds the secret or public key instead.")
    ] = None
    algorithm: Annotated[
        Literal[
            "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"
        ],
        about("The only algorithm that is accepted."),
    ] = "HS256"
    subject_claim: Annotated[str, about("The claim that holds the localpart of the user ID.")] = (
        "sub"
    )
    issuer: Annotated[str | None, about("If set, what `iss` must be.")] = None
    audiences: Annotated[tuple[str, ...], about("If set, what `aud` must be one of.")] = ()
