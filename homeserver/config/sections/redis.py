"""Section `redis`."""

from pathlib import Path
from typing import Annotated

from homeserver.config.values import Secret, Section, about


class RedisSection(Section, frozen=True, kw_only=True):
    """Redis carries wake-ups between nodes; one node needs none. Nothing is lost with it."""

    url: Annotated[
        Secret | None,
        about("Such as redis://:password@host:6379/0, rediss:// or unix:///path. Absent: none."),
    ] = None
    url_file: Annotated[Path | None, about("File that holds the URL instead.")] = None
