"""Section `passwords`."""

from pathlib import Path
from typing import Annotated

from homeserver.config.values import Secret, Section, about


class PasswordsSection(Section, frozen=True, kw_only=True):
    """How passwords are kept."""

    login_enabled: Annotated[bool, about("Whether users may log in with a password.")] = True
    bcrypt_cost: Annotated[
        int,
        about("Each step doubles the work: 12 is about a quarter of a second.", ge=4, le=31),
    ] = 12
    pepper: Annotated[
        Secret | None,
        about(
            "A secret mixed into every password, so that a stolen database alone is no use. It"
            " can never be changed once there are users."
        ),
    ] = None
    pepper_file: Annotated[Path | None, about("File that holds the pepper instead.")] = None
    min_length: Annotated[int, about("Characters that a new password must have.", ge=1)] = 1
