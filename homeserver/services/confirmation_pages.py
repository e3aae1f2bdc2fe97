"""What people see who open the link in a mail.

The link only shows a page with a button: programs that look into mails follow links too.
"""

from typing import Final
from urllib.parse import urlsplit

from homeserver.errors import MatrixError
from homeserver.services.pages import Pages
from homeserver.services.validation_sessions import Link, ValidationSessions
from homeserver.web.answers import PAGE_POLICY, Page, Redirect

_FORM_ACTION: Final = "form-action 'self'"


class ConfirmationPages:
    """Asks for the confirmation of an address, and takes it."""

    def __init__(self, validations: ValidationSessions, pages: Pages) -> None:
        self._validations = validations
        self._pages = pages

    async def show(self, sid: str, token: str) -> Page:
        """Return the page of a link."""
        try:
            link = await self._validations.look(sid, token)
        except MatrixError as refusal:
            return self._refused(refusal)
        values = {
            "purpose": link.purpose.value,
            "address": link.address,
            "sid": sid,
            "token": token,
        }
        return self._pages.render("email_confirm.html", values, policy=_policy_of(link))

    async def confirm(self, sid: str, token: str) -> Page | Redirect:
        """Confirm the address of a link; lead the browser on, or let it stay."""
        if "\0" in sid:
            sid = ""
        try:
            link = await self._validations.confirm(sid, token)
        except MatrixError as refusal:
            return self._refused(refusal)
        if link.next_link is not None:
            return Redirect(link.next_link, headers={"Referrer-Policy": "no-referrer"})
        return self._pages.render("email_confirmed.html", {})

    def _refused(self, refusal: MatrixError) -> Page:
        return self._pages.render(
            "uia_refused.html", {"error": refusal.error}, status=refusal.status
        )


def _policy_of(link: Link) -> str:
    """Return a policy by which the form may lead to where the confirmation leads on."""
    if link.next_link is None:
        return PAGE_POLICY
    parts = urlsplit(link.next_link)
    origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return PAGE_POLICY.replace(_FORM_ACTION, f"{_FORM_ACTION} {origin}")
