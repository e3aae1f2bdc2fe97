"""Section `turn`."""

from pathlib import Path
from typing import Annotated

from homeserver.config.values import Secret, Section, about


class TurnSection(Section, frozen=True, kw_only=True):
    """The TURN server through which clients reach each other for calls; off without URIs."""

    uris: Annotated[
        tuple[str, ...], about("Such as turn:turn.example.org?transport=udp; any number.")
    ] = ()
    shared_secret: Annotated[
        Secret | None,
        about(
            "What the TURN server knows, too (static-auth-secret of coturn): users get"
            " credentials that expire."
        ),
    ] = None
    shared_secret_file: Annotated[
        Path | None, about("File that holds the shared secret instead.")
    ] = None
    username: Annotated[str | None, about("Without a shared secret: the same for all users.")] = (
        None
    )
    password: Annotated[Secret | None, about("Its password.")] = None
    password_file: Annotated[Path | None, about("File that holds the password instead.")] = None
    lifetime_seconds: Annotated[
        int, about("How long credentials are good, and when clients ask again.", ge=60)
    ] = 86_400
    guests_allowed: Annotated[bool, about("Whether guests may make calls.")] = True
