"""What people see who want no more mail about unread messages."""

from homeserver.services.pages import Pages
from homeserver.services.pushers import Pushers
from homeserver.web.answers import Page

_TEMPLATE = "push_unsubscribe.html"


class UnsubscribePages:
    """Asks whether mails shall end, and ends them.

    The link only shows a page with a button: programs that look into mails follow links too.
    """

    def __init__(self, pushers: Pushers, pages: Pages) -> None:
        self._pushers = pushers
        self._pages = pages

    async def show(self, token: str) -> Page:
        """Return the page of a link."""
        return self._page(await self._pushers.unsubscribe(token, confirmed=False), token)

    async def confirm(self, token: str) -> Page:
        """End the mails of a link; a link that was used says that they have ended."""
        await self._pushers.unsubscribe(token, confirmed=True)
        return self._page(None, token)

    def _page(self, address: str | None, token: str) -> Page:
        return self._pages.render(_TEMPLATE, {"address": address, "token": token})
