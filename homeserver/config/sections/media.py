"""Section `media`."""

from pathlib import Path
from typing import Annotated

from homeserver.config.values import Section, later


class MediaSection(Section, frozen=True, kw_only=True):
    """Uploaded and cached files."""

    path: Annotated[
        Path | None,
        later("the media repository", "Folder for media. Absent: media in the data folder."),
    ] = None
