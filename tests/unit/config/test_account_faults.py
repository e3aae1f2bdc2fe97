"""Faults between the settings of accounts and discovery."""

from typing import Any

import pytest

from homeserver.config.check import faults_of
from homeserver.config.model import Config
from homeserver.config.sections.discovery import DiscoverySection, SupportContact
from homeserver.config.sections.jwt import JwtSection
from homeserver.config.sections.registration import Policy, PolicyText, RegistrationSection
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
