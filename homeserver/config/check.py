"""Faults that lie between settings, or outside of the file."""

from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from homeserver.config.decode import Fault
from homeserver.config.model import Config
from homeserver.config.sections.listeners import Listener
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.identifiers import parse_server_name
from homeserver.protocol.room_versions import ROOM_VERSIONS

_DSN_SCHEMES: Final = ("postgresql", "postgres")
_REDIS_SCHEMES: Final = ("redis", "rediss", "unix")


def faults_of(config: Config) -> list[Fault]:
    """Return what is wrong with a configuration whose settings are each well-formed."""
    return [
        *_server_faults(config),
        *_listener_faults(config),
        *_database_faults(config),
        *_registration_faults(config),
        *_discovery_faults(config),
        *_login_faults(config),
        *_federation_faults(config),
        *_missing_files(config),
    ]


def _server_faults(config: Config) -> Iterator[Fault]:
    yield from _server_name_faults("server.name", config.server.name)
    if config.server.public_base_url is not None:
        yield from _url_faults("server.public_base_url", config.server.public_base_url)
    if config.rooms.default_version not in ROOM_VERSIONS:
        known = ", ".join(ROOM_VERSIONS)
        yield Fault(
            "rooms.default_version",
            f"{config.rooms.default_version!r} is not a room version that this server knows:"
            f" {known}",
        )
    if config.tracing.zipkin_url is not None:
        yield from _url_faults("tracing.zipkin_url", config.tracing.zipkin_url)


def _listener_faults(config: Config) -> Iterator[Fault]:
    if not config.listeners:
        yield Fault("listeners", "is empty, so nobody could reach the server")
    for index, listener in enumerate(config.listeners):
        place = f"listeners[{index}]"
        if (listener.tls_certificate is None) != (listener.tls_key is None):
            yield Fault(place, "tls_certificate and tls_key need each other")
        if not listener.serves:
            yield Fault(f"{place}.serves", "is empty: a listener serves at least one API")
    taken = Counter(_address(each) for each in config.listeners if each.port or each.unix_socket)
    for address, count in taken.items():
        if count > 1:
            yield Fault("listeners", f"{count} listeners want the same address {address}")


def _address(listener: Listener) -> str:
    if listener.unix_socket is not None:
        return str(listener.unix_socket)
    return f"{listener.address}:{listener.port}"


def _database_faults(config: Config) -> Iterator[Fault]:
    database = config.database
    if database.min_connections > database.max_connections:
        yield Fault("database.min_connections", "is more than max_connections")
    if database.dsn is not None:
        yield from _scheme_faults("database.dsn", database.dsn.reveal(), _DSN_SCHEMES)
    if config.redis.url is not None:
        yield from _scheme_faults("redis.url", config.redis.url.reveal(), _REDIS_SCHEMES)


def _registration_faults(config: Config) -> Iterator[Fault]:
    registration = config.registration
    captcha = registration.captcha
    if (captcha.site_key is None) != (captcha.secret_key is None):
        yield Fault("registration.captcha", "site_key and secret_key need each other")
    yield from _url_faults("registration.captcha.verify_url", captcha.verify_url)
    if registration.requires_email and config.email.smtp_host is None:
        yield Fault("registration.requires_email", "needs email.smtp_host")
    verifies = registration.requires_token or registration.requires_email or captcha.site_key
    if registration.enabled and not verifies and registration.without_verification is False:
        yield Fault(
            "registration.enabled",
            "nothing verifies new users: set requires_token, requires_email or captcha, or allow"
            " it with without_verification, or turn registration off",
        )
    for index, policy in enumerate(registration.terms):
        if not policy.languages:
            yield Fault(f"registration.terms[{index}].languages", "is empty")
    for policy_id, count in Counter(policy.id for policy in registration.terms).items():
        if count > 1:
            yield Fault("registration.terms", f"{count} policies have the id {policy_id}")


def _discovery_faults(config: Config) -> Iterator[Fault]:
    for index, contact in enumerate(config.discovery.support_contacts):
        if contact.matrix_id is None and contact.email_address is None:
            yield Fault(f"discovery.support_contacts[{index}]", "needs matrix_id or email_address")
    if config.discovery.support_page is not None:
        yield from _web_page_faults("discovery.support_page", config.discovery.support_page)
    for index, policy in enumerate(config.registration.terms):
        for language, text in policy.languages.items():
            place = f"registration.terms[{index}].languages.{language}.url"
            yield from _web_page_faults(place, text.url)


def _login_faults(config: Config) -> Iterator[Fault]:
    if config.jwt.enabled and config.jwt.secret is None:
        yield Fault("jwt.enabled", "needs jwt.secret or jwt.secret_file")
    is_asymmetric = not config.jwt.algorithm.startswith("HS")
    if config.jwt.enabled and is_asymmetric and find_spec("cryptography") is None:
        yield Fault("jwt.algorithm", "needs the Python package cryptography; HS… does not")
    email = config.email
    if email.smtp_host is not None and email.sender is None:
        yield Fault("email.smtp_host", "needs email.sender")
    if (email.username is None) != (email.password is None):
        yield Fault("email", "username and password need each other")


def _federation_faults(config: Config) -> Iterator[Fault]:
    for index, server in enumerate(config.federation.trusted_key_servers):
        place = f"federation.trusted_key_servers[{index}].server_name"
        yield from _server_name_faults(place, server.server_name)


def _missing_files(config: Config) -> Iterator[Fault]:
    files: list[tuple[str, Iterable[Path | None]]] = [
        ("federation.ca_files", config.federation.ca_files),
        ("appservices.registration_files", config.appservices.registration_files),
    ]
    for index, listener in enumerate(config.listeners):
        files.append((f"listeners[{index}].tls_certificate", [listener.tls_certificate]))
        files.append((f"listeners[{index}].tls_key", [listener.tls_key]))
    for place, paths in files:
        for path in paths:
            if path is not None and not path.is_file():
                yield Fault(place, f"there is no file {path}")


def _server_name_faults(place: str, name: str) -> Iterator[Fault]:
    try:
        parse_server_name(name)
    except InvalidIdentifier:
        yield Fault(place, f"{name!r} is not a server name such as example.org or host:8448")


def _web_page_faults(place: str, url: str) -> Iterator[Fault]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        yield Fault(place, f"{url!r} is not the address of a page, such as https://example.org/")


def _url_faults(place: str, url: str) -> Iterator[Fault]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        yield Fault(place, f"{url!r} is not an address such as https://matrix.example.org")
    elif parts.query or parts.fragment:
        yield Fault(place, f"{url!r} must end with its path")


def _scheme_faults(place: str, url: str, schemes: tuple[str, ...]) -> Iterator[Fault]:
    # The address may hold a password, so it is not shown.
    if url.partition("://")[0] not in schemes or "://" not in url:
        yield Fault(place, f"must begin with {' or '.join(f'{each}://' for each in schemes)}")
