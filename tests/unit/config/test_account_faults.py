"""Faults between the settings of accounts and discovery."""

from pathlib import Path
from typing import Any

import pytest

from homeserver.config.check import faults_of
from homeserver.config.model import Config
from homeserver.config.sections.discovery import DiscoverySection, SupportContact
from homeserver.config.sections.jwt import JwtSection
from homeserver.config.sections.listeners import Listener
from homeserver.config.sections.mail import EmailSection
from homeserver.config.sections.registration import Policy, PolicyText, RegistrationSection
from homeserver.config.sections.server import ServerSection
from homeserver.config.values import Secret


def places(**sections: Any) -> list[str]:
    return [fault.place for fault in faults_of(Config(**sections))]


def test_a_support_contact_needs_an_address() -> None:
    contacts = (
        SupportContact(role="m.role.admin", matrix_id="@admin:example.org"),
        SupportContact(role="m.role.admin"),
    )
    discovery = DiscoverySection(support_contacts=contacts)
    assert places(discovery=discovery) == ["discovery.support_contacts[1]"]


@pytest.mark.parametrize(
    ("url", "is_fine"),
    [
        ("https://example.org/help?lang=en#top", True),
        ("http://example.org", True),
        ("example.org", False),
        ("javascript:alert(1)", False),
    ],
)
def test_pages_are_web_addresses(url: str, is_fine: bool) -> None:
    assert (places(discovery=DiscoverySection(support_page=url)) == []) == is_fine
    terms = (Policy(id="p", version="1", languages={"en": PolicyText(name="P", url=url)}),)
    assert (places(registration=RegistrationSection(terms=terms)) == []) == is_fine


def test_public_keys_need_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeserver.config.check.find_spec", lambda _name: None)
    rsa = JwtSection(enabled=True, secret=Secret("key"), algorithm="RS256")
    assert places(jwt=rsa) == ["jwt.algorithm"]
    assert places(jwt=JwtSection(enabled=True, secret=Secret("key"))) == []


HOST: dict[str, Any] = {"smtp_host": "mail.example.org", "sender": "Matrix <matrix@example.org>"}


@pytest.mark.parametrize(
    ("settings", "faults"),
    [
        ({}, []),
        (HOST, []),
        ({"smtp_host": "mail.example.org"}, ["email.smtp_host"]),
        ({**HOST, "sender": "Matrix"}, ["email.sender"]),
        ({**HOST, "username": "matrix"}, ["email"]),
        ({**HOST, "password": Secret("x")}, ["email"]),
        ({**HOST, "username": "matrix", "password": Secret("x")}, []),
        ({**HOST, "ca_files": (Path("/nowhere.pem"),)}, ["email.ca_files"]),
        ({**HOST, "templates_dir": Path("/nowhere")}, ["email.templates_dir"]),
    ],
)
def test_sending_mail_takes_a_server_and_a_sender(
    settings: dict[str, Any], faults: list[str]
) -> None:
    assert places(email=EmailSection(**settings)) == faults


def test_links_in_mails_lead_somewhere() -> None:
    listeners = (Listener(address="0.0.0.0"),)
    closed = RegistrationSection(enabled=False)
    email = EmailSection(**HOST)
    assert places(email=email, listeners=listeners, registration=closed) == ["email.smtp_host"]
    server = ServerSection(name="example.org", public_base_url="https://matrix.example.org")
    assert places(email=email, listeners=listeners, registration=closed, server=server) == []


def test_an_address_cannot_be_required_without_a_mail_server() -> None:
    registration = RegistrationSection(requires_email=True)
    assert places(registration=registration) == ["registration.requires_email"]
    assert places(registration=registration, email=EmailSection(**HOST)) == []
