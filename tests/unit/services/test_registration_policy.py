from typing import Any

import pytest

from homeserver.config.sections.registration import (
    CaptchaSection,
    Policy,
    PolicyText,
    RegistrationSection,
)
from homeserver.config.values import Secret
from homeserver.errors import Forbidden
from homeserver.services.registration_policy import RegistrationPolicy

CAPTCHA = CaptchaSection(site_key="public", secret_key=Secret("private"))
TERMS = (Policy(id="p", version="1", languages={"en": PolicyText(name="P", url="https://p/")}),)


EMAIL = "m.login.email.identity"


def policy(
    *, is_open: bool = False, verifies_email: bool = False, **settings: Any
) -> RegistrationPolicy:
    return RegistrationPolicy(
        RegistrationSection(**settings), is_open=is_open, verifies_email=verifies_email
    )


@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        ({"is_open": True}, ["m.login.dummy"]),
        ({"is_open": True, "terms": TERMS}, ["m.login.terms"]),
        ({"requires_token": True}, ["m.login.registration_token"]),
        ({"requires_token": True, "is_open": True}, ["m.login.registration_token"]),
        ({"captcha": CAPTCHA}, ["m.login.recaptcha"]),
        (
            {"requires_token": True, "captcha": CAPTCHA, "terms": TERMS},
            ["m.login.registration_token", "m.login.recaptcha", "m.login.terms"],
        ),
        ({"requires_email": True, "verifies_email": True}, [EMAIL]),
        (
            {"requires_email": True, "verifies_email": True, "terms": TERMS},
            [EMAIL, "m.login.terms"],
        ),
    ],
)
def test_the_stages_of_a_registration(settings: dict[str, Any], stages: list[str]) -> None:
    assert policy(**settings).flows() == (tuple(stages),)


@pytest.mark.parametrize(
    ("settings", "without"),
    [
        ({"is_open": True}, "m.login.dummy"),
        ({"requires_token": True}, "m.login.registration_token"),
    ],
)
def test_an_address_may_be_given_where_it_can_be_verified(
    settings: dict[str, Any], without: str
) -> None:
    with_email = (EMAIL, without) if "requires_token" in settings else (EMAIL,)
    assert policy(verifies_email=True, **settings).flows() == (with_email, (without,))


@pytest.mark.parametrize(
    "settings",
    [
        {"enabled": False, "is_open": True},
        {"is_open": False},
        {"is_open": False, "terms": TERMS},
        {"requires_email": True, "is_open": True},
        {"verifies_email": True},
    ],
)
def test_when_nobody_may_register(settings: dict[str, Any]) -> None:
    with pytest.raises(Forbidden):
        policy(**settings).flows()


def test_guests_are_let_in_only_where_they_are_allowed() -> None:
    policy(guests_allowed=True).require_guests_allowed()
    with pytest.raises(Forbidden):
        policy(guests_allowed=False).require_guests_allowed()
