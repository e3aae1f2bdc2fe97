"""What this program calls itself."""

from importlib import metadata
from typing import Final

NAME: Final = "matrix-homeserver"


def version() -> str:
    """Return the version of the installed package; of a bare checkout it is not known."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "unknown"
