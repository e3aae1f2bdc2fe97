"""Faults in the configuration of identity providers."""

from pathlib import Path
from typing import Any

import pytest

from homeserver.config.check import faults_of
from homeserver.config.decode import Decoder
from homeserver.config.model import Config
from homeserver.config.sections.listeners import Listener
from homeserver.config.sections.server import ServerSection
from homeserver.config.sections.single_sign_on import (
    CasProvider,
    OidcProvider,
    SingleSignOnSection,
)

OIDC: dict[str, Any] = {
    "id": "oidc",
    "name": "Example",
    "issuer": "https://id.example",
    "client_id": "us",
}
CAS: dict[str, Any] = {"id": "cas", "name": "Campus", "server_url": "https://cas.example/cas"}


def places(**settings: Any) -> list[str]:
    config = Config(single_sign_on=SingleSignOnSection(**settings))
    return [fault.place.removeprefix("single_sign_on.") for fault in faults_of(config)]


@pytest.mark.parametrize(
    ("changed", "faults"),
    [
        ({}, []),
        ({"id": "a b"}, ["id"]),
        ({"id": ""}, ["id"]),
        ({"icon": "https://x.example/i.png"}, ["icon"]),
        ({"icon": "mxc://example.org/abc"}, []),
        ({"brand": "GitHub"}, ["brand"]),
        ({"brand": "org.example.sso"}, []),
        ({"issuer": "id.example"}, ["issuer"]),
        ({"token_endpoint": "ftp://x"}, ["token_endpoint"]),
        ({"localpart_template": "{{ user."}, ["localpart_template"]),
        ({"localpart_template": None, "allow_existing_users": True}, ["allow_existing_users"]),
        ({"scopes": ("profile",)}, ["scopes"]),
        ({"id_token_algorithms": ()}, ["id_token_algorithms"]),
        (
            {"discovery_enabled": False},
            ["authorization_endpoint", "token_endpoint", "jwks_uri"],
        ),
        (
            {
                "discovery_enabled": False,
                "authorization_endpoint": "https://id.example/a?tenant=1",
                "token_endpoint": "https://id.example/t",
                "jwks_uri": "https://id.example/k",
                "userinfo_enabled": True,
            },
            ["userinfo_enabled"],
        ),
    ],
)
def test_a_provider_of_openid_connect(changed: dict[str, Any], faults: list[str]) -> None:
    provider = OidcProvider(**{**OIDC, **changed})
    assert places(oidc_providers=(provider,)) == [f"oidc_providers[0].{each}" for each in faults]


def test_a_cas_needs_an_address() -> None:
    assert places(cas_providers=(CasProvider(**CAS),)) == []
    wrong = CasProvider(**{**CAS, "server_url": "cas.example"})
    assert places(cas_providers=(wrong,)) == ["cas_providers[0].server_url"]


def test_no_two_providers_have_one_id() -> None:
    cas = CasProvider(**{**CAS, "id": "oidc"})
    assert places(oidc_providers=(OidcProvider(**OIDC),), cas_providers=(cas,)) == [
        "single_sign_on"
    ]


@pytest.mark.parametrize(
    ("url", "is_fine"),
    [
        ("https://app.example", True),
        ("https://app.example/web/", True),
        ("io.element.app:/callback", True),
        ("app.example", False),
        ("https:///web", False),
        ("https://app.example/?a=b", False),
        ("https://app.example/#x", False),
    ],
)
def test_a_trusted_client_is_an_address(url: str, is_fine: bool) -> None:
    assert (places(trusted_client_urls=(url,)) == []) == is_fine


def test_providers_need_to_know_where_browsers_go_back() -> None:
    section = SingleSignOnSection(oidc_providers=(OidcProvider(**OIDC),))
    listeners = (Listener(address="0.0.0.0"),)
    faults = faults_of(Config(single_sign_on=section, listeners=listeners))
    assert "single_sign_on" in [fault.place for fault in faults]
    server = ServerSection(public_base_url="https://matrix.example")
    assert faults_of(Config(single_sign_on=section, listeners=listeners, server=server)) == []


def test_the_secret_of_a_provider_can_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden\n")
    decoder = Decoder(tmp_path)
    plain = {"oidc_providers": [{**OIDC, "client_secret_file": "secret"}]}
    section = decoder.section(SingleSignOnSection, plain)
    assert decoder.faults == []
    assert section is not None
    secret = section.oidc_providers[0].client_secret
    assert secret is not None
    assert secret.reveal() == "hidden"
