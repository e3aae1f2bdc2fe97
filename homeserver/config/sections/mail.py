"""Section `email`."""

from pathlib import Path
from typing import Annotated, Literal

from homeserver.config.values import Secret, Section, about


class EmailSection(Section, frozen=True, kw_only=True):
    """Sending e-mail; off without a host."""

    smtp_host: Annotated[str | None, about("The mail server.")] = None
    smtp_port: Annotated[int, about("Its port.", ge=1, le=65535)] = 587
    security: Annotated[
        Literal["starttls", "tls", "none"],
        about("starttls (port 587), tls from the start (port 465), or none."),
    ] = "starttls"
    ca_files: Annotated[
        tuple[Path, ...],
        about("PEM files of certificate authorities to trust beside the system's."),
    ] = ()
    username: Annotated[str | None, about("If the mail server wants a login.")] = None
    password: Annotated[Secret | None, about("Its password.")] = None
    password_file: Annotated[Path | None, about("File that holds the password instead.")] = None
    sender: Annotated[str | None, about("From, such as Example <matrix@example.org>.")] = None
    timeout_ms: Annotated[int, about("How long the mail server may take for one step.", ge=100)] = (
        20_000
    )
    templates_dir: Annotated[
        Path | None,
        about(
            "Folder with templates of your own: whatever is missing in it is taken from those"
            " that come with the server (homeserver/services/templates/mail_*)."
        ),
    ] = None
    link_lifetime_ms: Annotated[
        int, about("How long a link that confirms an address is good for.", ge=60_000)
    ] = 86_400_000
