"""reCAPTCHA as a stage. Spec: client-server-api/#google-recaptcha"""

from collections.abc import Mapping
from typing import Protocol

from homeserver.config.sections.registration import CaptchaSection
from homeserver.errors import RemoteError
from homeserver.protocol import uia
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.services.uia_stages import Stage, StageAttempt, StageFailed
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)


class FormPoster(Protocol):
    """Sends forms to addresses that the configuration names."""

    async def post_form(self, url: str, fields: Mapping[str, str]) -> JsonValue:
        """Send a form and return the decoded JSON of the answer. Raises RemoteError."""
        ...


class RecaptchaStage(Stage):
    """Asks the verifying server whether the answer to a captcha was right."""

    name = uia.RECAPTCHA

    def __init__(self, settings: CaptchaSection, http: FormPoster) -> None:
        """`settings` have both keys, as the check of the configuration makes sure."""
        assert settings.site_key is not None
        assert settings.secret_key is not None
        self._site_key = settings.site_key
        self._secret_key = settings.secret_key
        self._verify_url = settings.verify_url
        self._http = http

    def params(self) -> JsonObject:
        """Return the public key."""
        return {"public_key": self._site_key}

    async def verify(self, attempt: StageAttempt) -> str:
        """Raises StageFailed: no answer, a wrong one, or nobody to judge it."""
        response = attempt.members.get("response")
        if not isinstance(response, str) or not response:
            raise StageFailed("M_CAPTCHA_NEEDED", "A captcha is required")
        fields = {
            "secret": self._secret_key.reveal(),
            "response": response,
            "remoteip": attempt.ip,
        }
        try:
            verdict = await self._http.post_form(self._verify_url, fields)
        except RemoteError as error:
            log.warning("captcha cannot be verified", reason=error.reason)
            raise StageFailed("M_CAPTCHA_INVALID", "The captcha cannot be verified now") from error
        if not isinstance(verdict, dict) or verdict.get("success") is not True:
            raise StageFailed("M_CAPTCHA_INVALID", "The captcha was not solved")
        return ""
