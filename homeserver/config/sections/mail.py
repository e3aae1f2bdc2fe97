"""Section `email`."""

from pathlib import Path
from typing import Annotated, Literal

from homeserver.config.values import Secret, Section, later

_FEATURE = "e-mail"


class EmailSection(Section, frozen=True, kw_only=True):
    """Sending e-mail; off without a host."""

    smtp_host: Annotated[str | None, later(_FEATURE, "The mail server.")] = None
    smtp_port: Annotated[int, later(_FEATURE, "Its port.", ge=1, le=65535)] = 587
    security: Annotated[
        Literal["starttls", "tls", "none"],
        later(_FEATURE, "starttls (port 587), tls from the start (port 465), or none."),
    ] = "starttls"
    username: Annotated[str | None, later(_FEATURE, "If the mail server wants a login.")] = None
    password: Annotated[Secret | None, later(_FEATURE, "Its password.")] = None
    password_file: Annotated[
        Path | None, later(_FEATURE, "File that holds the password instead.")
    ] = None
    sender: Annotated[
        str | None, later(_FEATURE, "From, such as Example <matrix@example.org>.")
    ] = None
