"""Who may register, and what they have to do for it."""

from homeserver.config.sections.registration import RegistrationSection
from homeserver.errors import Forbidden
from homeserver.protocol import uia
from homeserver.protocol.uia import Flows


class RegistrationPolicy:
    """What the configuration says about new accounts."""

    def __init__(
        self, settings: RegistrationSection, *, is_open: bool, verifies_email: bool = False
    ) -> None:
        """`is_open`: nothing has to be verified (`Config.registers_without_verification`).

        `verifies_email`: users may give an e-mail address with the registration.
        """
        self._settings = settings
        self._is_open = is_open
        self._verifies_email = verifies_email

    def flows(self) -> Flows:
        """Return the stages of a registration; who gives an e-mail address begins with that.

        Raises Forbidden: clients may not register.
        """
        settings = self._settings
        if not settings.enabled:
            raise Forbidden("Registration is disabled")
        if settings.requires_email and not self._verifies_email:
            raise Forbidden("Registration needs an e-mail address, which cannot be verified")
        verifying: list[str] = []
        if settings.requires_token:
            verifying.append(uia.REGISTRATION_TOKEN)
        if settings.captcha.site_key is not None:
            verifying.append(uia.RECAPTCHA)
        if not verifying and not self._is_open and not settings.requires_email:
            raise Forbidden("Registration is disabled")
        stages = [*verifying, uia.TERMS] if settings.terms else verifying
        with_email = (uia.EMAIL_IDENTITY, *stages)
        if settings.requires_email:
            return (with_email,)
        without = tuple(stages or [uia.DUMMY])
        return (with_email, without) if self._verifies_email else (without,)

    def require_guests_allowed(self) -> None:
        """Raises Forbidden: clients may not make guest accounts."""
        if not self._settings.guests_allowed:
            raise Forbidden("Guest access is disabled")
