"""Faults that lie between settings, or outside of the file."""

from collections import Counter
from collections.abc import Iterable, Iterator
from email.utils import parseaddr
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from homeserver.config.check_single_sign_on import single_sign_on_faults
from homeserver.config.decode import Fault
from homeserver.config.model import Config
from homeserver.config.sections.listeners import Listener
from homeserver.protocol.errors import InvalidBase64, InvalidIdentifier
from homeserver.protocol.identifiers import is_new_localpart, parse_server_name
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.unpadded_base64 import decode_base64

_DSN_SCHEMES: Final = ("postgresql", "postgres")
_ED25519_KEY_BYTES: Final = 32
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
        *_turn_faults(config),
        *_notice_faults(config),
        *_policy_server_faults(config),
        *_email_faults(config),
        *_push_faults(config),
        *single_sign_on_faults(config),
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


def _email_faults(config: Config) -> Iterator[Fault]:
    email = config.email
    if email.smtp_host is not None and email.sender is None:
        yield Fault("email.smtp_host", "needs email.sender")
    is_reachable = config.server.public_base_url is not None or config.is_local_only
    if email.smtp_host is not None and not is_reachable:
        yield Fault(
            "email.smtp_host", "needs server.public_base_url: that is where links in mails lead"
        )
    if email.sender is not None and "@" not in parseaddr(email.sender)[1]:
        yield Fault("email.sender", f"{email.sender!r} has no address such as matrix@example.org")
    if (email.username is None) != (email.password is None):
        yield Fault("email", "username and password need each other")
    if email.templates_dir is not None and not email.templates_dir.is_dir():
        yield Fault("email.templates_dir", f"there is no folder {email.templates_dir}")


def _push_faults(config: Config) -> Iterator[Fault]:
    contact = config.push.web_push_contact
    if contact is not None and not contact.startswith(("mailto:", "https://")):
        yield Fault("push.web_push_contact", f"{contact!r} must begin with mailto: or https://")


def _turn_faults(config: Config) -> Iterator[Fault]:
    turn = config.turn
    for index, uri in enumerate(turn.uris):
        if not uri.startswith(("turn:", "turns:")):
            yield Fault(f"turn.uris[{index}]", "begins with turn: or turns:")
    has_account = turn.username is not None and turn.password is not None
    if turn.uris and turn.shared_secret is None and not has_account:
        yield Fault("turn.uris", "needs turn.shared_secret, or turn.username and turn.password")
    if (turn.username is None) != (turn.password is None):
        yield Fault("turn", "username and password need each other")
    if turn.shared_secret is not None and turn.username is not None:
        yield Fault("turn.shared_secret", "is set, and so is turn.username: choose one")


def _notice_faults(config: Config) -> Iterator[Fault]:
    localpart = config.server_notices.localpart
    if localpart is not None and not is_new_localpart(localpart):
        yield Fault(
            "server_notices.localpart", "has only a-z, 0-9 and ._=-/+ (the part before the colon)"
        )
    avatar_url = config.server_notices.avatar_url
    if avatar_url is not None and not avatar_url.startswith("mxc://"):
        yield Fault("server_notices.avatar_url", "begins with mxc://")


def _policy_server_faults(config: Config) -> Iterator[Fault]:
    key = config.discovery.policy_server_key
    if key is None:
        return
    try:
        is_key = len(decode_base64(key)) == _ED25519_KEY_BYTES
    except InvalidBase64:
        is_key = False
    if not is_key:
        yield Fault("discovery.policy_server_key", "is not an ed25519 public key in base64")


def _federation_faults(config: Config) -> Iterator[Fault]:
    if config.federation.delegate_to is not None:
        yield from _server_name_faults("federation.delegate_to", config.federation.delegate_to)
    for index, server in enumerate(config.federation.trusted_key_servers):
        place = f"federation.trusted_key_servers[{index}].server_name"
        yield from _server_name_faults(place, server.server_name)


def _missing_files(config: Config) -> Iterator[Fault]:
    files: list[tuple[str, Iterable[Path | None]]] = [
        ("federation.ca_files", config.federation.ca_files),
        ("email.ca_files", config.email.ca_files),
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
