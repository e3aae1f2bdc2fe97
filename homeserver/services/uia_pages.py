"""Pages for stages that a client does not know. Spec: client-server-api/#fallback"""

from collections.abc import Mapping
from typing import Final

from homeserver.errors import LimitExceeded, MatrixError
from homeserver.protocol import uia as stages
from homeserver.protocol.json_types import JsonObject
from homeserver.services.pages import Pages
from homeserver.services.uia import Uia
from homeserver.services.uia_stages import StageFailed
from homeserver.web.answers import PAGE_POLICY, Page
from homeserver.web.params import RequestFacts

# The specification gives this script word for word.
_DONE_SCRIPT: Final = """
if (window.onAuthDone) {
    window.onAuthDone();
} else if (window.opener && window.opener.postMessage) {
    window.opener.postMessage("authDone", "*");
}
"""
_CAPTCHA_SCRIPT: Final = "https://www.recaptcha.net/recaptcha/api.js"
# What that script loads, and where it shows its puzzles.
_CAPTCHA_POLICY: Final = (
    f"{PAGE_POLICY}; script-src https://www.recaptcha.net/recaptcha/"
    " https://www.gstatic.com/recaptcha/ https://www.gstatic.cn/recaptcha/;"
    " frame-src https://www.recaptcha.net/ https://recaptcha.net/ https://www.google.com/;"
    " connect-src https://www.recaptcha.net/ https://www.google.com/"
)
_CAPTCHA_FIELD: Final = "g-recaptcha-response"
# Fields that a page passes on to itself, between asking for a mail and its arrival.
_CARRIED: Final = ("sid", "client_secret")
_NOTHING: Final[Mapping[str, str]] = {}


class UiaPages:
    """Shows stages in a browser and completes them there."""

    def __init__(self, uia: Uia, pages: Pages) -> None:
        self._uia = uia
        self._pages = pages

    async def show(self, stage: str, session_id: str) -> Page:
        """Return the page of a stage, or what stands in its way."""
        try:
            if not await self._uia.is_pending(session_id, stage):
                return self.done()
        except MatrixError as refusal:
            return self.refused(refusal)
        return self._ask(stage, session_id)

    async def submit(
        self, stage: str, session_id: str, fields: Mapping[str, str], facts: RequestFacts
    ) -> Page:
        """Take what the page's form brings. Raises LimitExceeded."""
        members: JsonObject = dict(fields)
        if _CAPTCHA_FIELD in fields:
            members["response"] = fields[_CAPTCHA_FIELD]
        carried: Mapping[str, str] = {name: fields[name] for name in _CARRIED if name in fields}
        try:
            prepared = await self._uia.prepare_apart(session_id, stage, members, facts)
            if prepared:
                return self._ask(stage, session_id, carried=prepared)
            await self._uia.attempt_apart(session_id, stage, members, facts)
        except StageFailed as failure:
            return self._ask(stage, session_id, error=failure.error, carried=carried)
        except LimitExceeded:
            raise
        except MatrixError as refusal:
            return self.refused(refusal)
        return self.done()

    def _ask(
        self,
        stage: str,
        session_id: str,
        *,
        error: str = "",
        carried: Mapping[str, str] = _NOTHING,
    ) -> Page:
        params = self._uia.params_of(stage) or {}
        values = {
            "stage": stage,
            "session": session_id,
            "error": error,
            "carried": carried,
            "params": params,
            "policies": _policies_in_english(params),
            "captcha_script": _CAPTCHA_SCRIPT,
        }
        return self._pages.render(
            "uia_stage.html",
            values,
            status=401 if error else 200,
            policy=_CAPTCHA_POLICY if stage == stages.RECAPTCHA else PAGE_POLICY,
        )

    def done(self) -> Page:
        """Return the page that tells the client to go on."""
        return self._pages.render_with_script("uia_done.html", _DONE_SCRIPT)

    def refused(self, refusal: MatrixError) -> Page:
        """Return the page that says why there is no way."""
        return self._pages.render(
            "uia_refused.html", {"error": refusal.error}, status=refusal.status
        )


def _policies_in_english(params: JsonObject) -> list[JsonObject]:
    """Return name, url and version of each policy, in another language if need be."""
    shown = []
    for policy in params.get("policies", {}).values():
        texts = {language: text for language, text in policy.items() if language != "version"}
        text = texts.get("en") or next(iter(texts.values()))
        shown.append({"version": policy["version"], **text})
    return shown
