"""The one signal that the node is stopping."""

import asyncio


class Shutdown:
    """Tells everyone who waits for something else that the node drains.

    Long polls wait on it besides their notifier and then answer what they have.
    """

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    @property
    def has_begun(self) -> bool:
        """Whether the node is stopping."""
        return self._begun.is_set()

    def begin(self) -> None:
        """Give the signal; it stays given."""
        self._begun.set()

    async def wait(self) -> None:
        """Return when the signal is given."""
        await self._begun.wait()
