"""Faults in the configuration of identity providers."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from jinja2 import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from homeserver.config.decode import Fault
from homeserver.config.model import Config
from homeserver.config.sections.single_sign_on import OidcProvider, Provider

# appendices/#opaque-identifiers
_ID: Final = re.compile(r"[0-9A-Za-z._~-]{1,255}")
# appendices/#common-namespaced-identifier-grammar, which needs no namespace here
_BRAND: Final = re.compile(r"[a-z][a-z0-9._-]{0,254}")
_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint")
_NEEDED_ENDPOINTS: Final = _ENDPOINTS[:3]
_TEMPLATES: Final = ("localpart_template", "display_name_template", "email_template")


def single_sign_on_faults(config: Config) -> Iterator[Fault]:
    """Yield what is wrong with the section."""
    section, place = config.single_sign_on, "single_sign_on"
    providers: list[tuple[str, Provider]] = [
        *((f"{place}.oidc_providers[{i}]", each) for i, each in enumerate(section.oidc_providers)),
        *((f"{place}.cas_providers[{i}]", each) for i, each in enumerate(section.cas_providers)),
    ]
    for where, provider in providers:
        yield from _provider_faults(where, provider)
    for index, oidc in enumerate(section.oidc_providers):
        yield from _oidc_faults(f"{place}.oidc_providers[{index}]", oidc)
    for index, cas in enumerate(section.cas_providers):
        yield from _address_faults(f"{place}.cas_providers[{index}].server_url", cas.server_url)
    for index, url in enumerate(section.trusted_client_urls):
        yield from _client_faults(f"{place}.trusted_client_urls[{index}]", url)
    for provider_id, count in Counter(provider.id for _, provider in providers).items():
        if count > 1:
            yield Fault(place, f"{count} providers have the id {provider_id}")
    is_reachable = config.server.public_base_url is not None or config.is_local_only
    if providers and not is_reachable:
        yield Fault(place, "needs server.public_base_url: providers send browsers there")


def _provider_faults(place: str, provider: Provider) -> Iterator[Fault]:
    if not _ID.fullmatch(provider.id):
        yield Fault(f"{place}.id", "has only letters, digits and -._~")
    if provider.icon is not None and not provider.icon.startswith("mxc://"):
        yield Fault(f"{place}.icon", "begins with mxc://")
    if provider.brand is not None and not _BRAND.fullmatch(provider.brand):
        yield Fault(f"{place}.brand", "has only a-z, 0-9 and ._-, a letter first")
    environment = ImmutableSandboxedEnvironment()
    for name in _TEMPLATES:
        try:
            environment.parse(getattr(provider, name) or "")
        except TemplateSyntaxError as error:
            yield Fault(f"{place}.{name}", f"is no template: {error.message}")
    if provider.allow_existing_users and not provider.localpart_template:
        yield Fault(f"{place}.allow_existing_users", "needs localpart_template")


def _oidc_faults(place: str, provider: OidcProvider) -> Iterator[Fault]:
    yield from _address_faults(f"{place}.issuer", provider.issuer)
    for name in _ENDPOINTS:
        endpoint = getattr(provider, name)
        if endpoint is not None:
            yield from _address_faults(f"{place}.{name}", endpoint)
        elif not provider.discovery_enabled and name in _NEEDED_ENDPOINTS:
            yield Fault(f"{place}.{name}", "is missing, and discovery_enabled is off")
    if "openid" not in provider.scopes:
        yield Fault(f"{place}.scopes", "needs openid")
    if not provider.id_token_algorithms:
        yield Fault(f"{place}.id_token_algorithms", "is empty")
    if provider.userinfo_enabled and not (provider.discovery_enabled or provider.userinfo_endpoint):
        yield Fault(f"{place}.userinfo_enabled", "needs userinfo_endpoint")


def _address_faults(place: str, url: str) -> Iterator[Fault]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.fragment:
        yield Fault(place, f"{url!r} is not an address such as https://login.example.org")


def _client_faults(place: str, url: str) -> Iterator[Fault]:
    parts = urlsplit(url)
    if not parts.scheme or not (parts.netloc or parts.path) or parts.query or parts.fragment:
        yield Fault(place, f"{url!r} is not an address such as https://app.example.org/")
    elif parts.scheme in ("http", "https") and not parts.netloc:
        yield Fault(place, f"{url!r} names no host")
