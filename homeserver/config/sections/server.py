"""Section `server`."""

from pathlib import Path
from typing import Annotated

from homeserver.config.values import Section, about


class ServerSection(Section, frozen=True, kw_only=True):
    """Who this server is and where it keeps its files."""

    name: Annotated[
        str,
        about(
            "The server name: the part of user IDs after the colon. May include a port. It can"
            " never be changed once there are users."
        ),
    ] = "localhost"
    public_base_url: Annotated[
        str | None,
        about(
            "Where clients reach this server, such as https://matrix.example.org. When absent,"
            " the address of the first listener that serves clients."
        ),
    ] = None
    data_dir: Annotated[
        Path,
        about(
            "Folder for everything that has no place of its own: the embedded database, media,"
            " the signing key. Made when absent."
        ),
    ] = Path("data")
