"""From what a provider tells of a user to what an account needs."""

import string
from collections.abc import Mapping
from typing import Final

import msgspec
from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from homeserver.config.sections.single_sign_on import Provider
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.third_party_ids import canonical_email
from homeserver.services.single_sign_on.provider import Claims, SignInFailed
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# As long as clients show.
_MAX_DISPLAY_NAME: Final = 256
_ALLOWED_BYTES: Final = frozenset((string.ascii_lowercase + string.digits + "._-/+").encode())
# What an expression can fail with when a claim is of another type than expected.
_TEMPLATE_FAULTS: Final = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """What a new account would be made with; None: the provider does not say."""

    localpart: str | None = None
    display_name: str | None = None
    # Verified, and in canonical form.
    email: str | None = None


class AttributeMapping:
    """Applies the templates of a provider."""

    def __init__(self, settings: Provider) -> None:
        """Raises jinja2.TemplateSyntaxError, which the check of the configuration finds."""
        environment = ImmutableSandboxedEnvironment()
        self._provider_id = settings.id
        self._required: Final[Mapping[str, str]] = settings.required_attributes
        self._emails_are_verified = settings.emails_are_verified
        self._localpart, self._display_name, self._email = (
            environment.from_string(source or "")
            for source in (
                settings.localpart_template,
                settings.display_name_template,
                settings.email_template,
            )
        )

    def check(self, claims: Claims) -> None:
        """Raise SignInFailed unless the claims have what the configuration requires."""
        for name, wanted in self._required.items():
            value = claims.get(name)
            values = value if isinstance(value, list) else [value]
            if not any(wanted in _texts_of(each) for each in values):
                raise SignInFailed(
                    "You are not one of those who may log in here",
                    reason=f"required attribute {name}",
                )

    def of(self, claims: Claims) -> Attributes:
        """Return what the templates make of the claims."""
        values = {"user": claims}
        localpart = self._render(self._localpart, values)
        display_name = self._render(self._display_name, values)
        visible = "".join(each for each in display_name if each.isprintable())
        return Attributes(
            localpart=localpart_from(localpart) or None,
            display_name=visible[:_MAX_DISPLAY_NAME].strip() or None,
            email=self._email_of(claims, values),
        )

    def _email_of(self, claims: Claims, values: Mapping[str, Claims]) -> str | None:
        says_so = claims.get("email_verified") in (True, "true")
        if not (self._emails_are_verified or says_so):
            return None
        try:
            return canonical_email(self._render(self._email, values))
        except InvalidIdentifier:
            return None

    def _render(self, template: Template, values: Mapping[str, Claims]) -> str:
        try:
            return template.render(values).strip()
        except _TEMPLATE_FAULTS as error:
            log.warning(
                "template of an identity provider fails",
                provider=self._provider_id,
                reason=type(error).__name__,
            )
            return ""


def localpart_from(text: str) -> str:
    """Map any text to a localpart. Spec: appendices/#mapping-from-other-character-sets"""
    lowered = "".join(
        each.lower() if each in string.ascii_uppercase else each for each in text.strip()
    )
    # A lone surrogate, which JSON can spell, has no UTF-8.
    encoded = lowered.encode(errors="replace")
    return "".join(chr(byte) if byte in _ALLOWED_BYTES else f"={byte:02x}" for byte in encoded)


def _texts_of(value: object) -> tuple[str, ...]:
    if isinstance(value, bool):
        # Unquoted in YAML, `true` reaches us as "on".
        return ("true", "on") if value else ("false", "off")
    return (str(value),) if isinstance(value, str | int) else ()
