"""Section `registration`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from homeserver.config.values import Secret, Section, about


class CaptchaSection(Section, frozen=True, kw_only=True):
    """reCAPTCHA (v2), asked for when site_key is set."""

    site_key: Annotated[str | None, about("The public key, which clients show to Google.")] = None
    secret_key: Annotated[Secret | None, about("The key between servers.")] = None
    secret_key_file: Annotated[Path | None, about("File that holds the secret key instead.")] = None
    verify_url: Annotated[str, about("Where answers are verified.")] = (
        "https://www.recaptcha.net/recaptcha/api/siteverify"
    )


class PolicyText(Section, frozen=True, kw_only=True):
    """A policy in one language."""

    name: Annotated[str, about("What clients call the document.")]
    url: Annotated[str, about("Where it can be read.")]


class Policy(Section, frozen=True, kw_only=True):
    """A document that new users accept.

    Spec: client-server-api/#terms-of-service-at-registration
    """

    id: Annotated[str, about("A name of the policy, such as privacy_policy.")]
    version: Annotated[str, about("Its version, in quotes, such as '1.0'.")]
    languages: Annotated[
        Mapping[str, PolicyText],
        about("By language code, such as en: {name: Privacy policy, url: https://…}."),
    ] = msgspec.field(default_factory=dict)


class RegistrationSection(Section, frozen=True, kw_only=True):
    """How accounts are made."""

    enabled: Annotated[bool, about("Whether clients may register accounts at all.")] = True
    without_verification: Annotated[
        bool | None,
        about(
            "Whether an account may be made with nothing but a name and a password (the stage"
            " m.login.dummy). When absent, only while nobody but this machine can reach the"
            " server: every listener on a loopback address, no trusted proxy, no"
            " public_base_url. An open server on the internet is found by spammers in days."
        ),
    ] = None
    requires_token: Annotated[
        bool, about("Ask for a registration token, which administrators hand out.")
    ] = False
    requires_email: Annotated[
        bool, about("Ask for an e-mail address and verify it. Needs section email.")
    ] = False
    guests_allowed: Annotated[bool, about("Whether clients may make guest accounts.")] = False
    shared_secret: Annotated[
        Secret | None,
        about(
            "Whoever knows it may register accounts, administrators too, as `homeserver"
            " register-user` does. Absent: nobody may."
        ),
    ] = None
    shared_secret_file: Annotated[
        Path | None, about("File that holds the shared secret instead.")
    ] = None
    captcha: Annotated[CaptchaSection, about("reCAPTCHA.")] = CaptchaSection()
    terms: Annotated[
        tuple[Policy, ...],
        about(
            "Documents to accept; each has id, version and languages (name and url by code).",
        ),
    ] = ()
