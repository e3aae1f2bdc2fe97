"""Who may register, and what they have to do for it."""

from homeserver.config.sections.registration import RegistrationSection
from homeserver.errors import Forbidden
from homeserver.protocol import uia
from homeserver.protocol.uia import Flows


class RegistrationPolicy:
    """What the configuration says about new accounts."""

    def __init__(self, settings: RegistrationSection, *, is_open: bool) -> None:
        """`is_open`: nothing has to be verified (`Config.registers_without_verification`)."""
        self._settings = settings
        self._is_open = is_open

    def flows(self) -> Flows:
        """Return the stages of a registration.

        Raises Forbidden: clients may not register.
        """
        settings = self._settings
        if not settings.enabled:
            raise Forbidden("Registration is disabled")
        if settings.requires_email:
            raise Forbidden("Registration needs an e-mail address, which cannot be verified")
        verifying: list[str] = []
        if settings.requires_token:
            verifying.append(uia.REGISTRATION_TOKEN)
        if settings.captcha.site_key is not None:
            verifying.append(uia.RECAPTCHA)
        if not verifying and not self._is_open:
            raise Forbidden("Registration is disabled")
        stages = [*verifying, uia.TERMS] if settings.terms else verifying
        return (tuple(stages or [uia.DUMMY]),)

    def require_guests_allowed(self) -> None:
        """Raises Forbidden: clients may not make guest accounts."""
        if not self._settings.guests_allowed:
            raise Forbidden("Guest access is disabled")
