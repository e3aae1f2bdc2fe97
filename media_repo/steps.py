"""What others plug into the way of media: before it is kept, and after."""

from pathlib import Path
from typing import Protocol

from homeserver.protocol.content_uri import ContentUri
from homeserver.storage.media import MediaRow


class UploadRewriter(Protocol):
    """Changes uploads of local users before they are hashed and kept."""

    async def rewrite(self, path: Path, content_type: str, target: Path) -> bool:
        """Write what is to be kept instead of the file at `path` to `target`; False: as it is.

        Raises MatrixError: the upload is refused.
        """
        ...


class MediaWatcher(Protocol):
    """Learns of content that can be read from now on, uploaded here or fetched."""

    def arrived(self, media: MediaRow) -> None:
        """Take note; does not wait. A crash may lose it."""
        ...


class Scanner(Protocol):
    """Looks at content for what must not be passed on."""

    async def is_clean(self, path: Path) -> bool:
        """Return the verdict on a file. Raises ScanFailed: there is none."""
        ...


class ScanFailed(Exception):
    """The scanner could not be asked or gave no verdict."""


class NoRewriter:
    """Keeps every upload as it is."""

    async def rewrite(self, path: Path, content_type: str, target: Path) -> bool:
        """Nothing changes."""
        return False


class ManyWatchers:
    """Tells any number of watchers."""

    def __init__(self) -> None:
        self._watchers: list[MediaWatcher] = []

    def add(self, watcher: MediaWatcher) -> None:
        """Tell one more from now on."""
        self._watchers.append(watcher)

    def arrived(self, media: MediaRow) -> None:
        """Tell all."""
        for watcher in self._watchers:
            watcher.arrived(media)


def uri_of(media: MediaRow) -> ContentUri:
    """Return the URI of stored media, whose parts were checked when it came."""
    return ContentUri(media.origin, media.media_id)  # type: ignore[arg-type]  # see above
