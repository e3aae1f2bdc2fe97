"""homeserver.yaml, the environment and the command line become one configuration."""

from pathlib import Path

import pytest

from homeserver.config.decode import ConfigError
from homeserver.config.load import Overrides, load
from homeserver.config.model import Config
from homeserver.config.values import PRIVATE_RANGES, IpRange, Secret


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(text: str, name: str = "homeserver.yaml") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def faults_in(text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        load(written(text))
    return {fault.place: fault.reason for fault in caught.value.faults}


def test_no_file_makes_a_local_server(folder: Path) -> None:
    config = load()
    assert config.server.name == "localhost"
    assert config.public_base_url == "http://127.0.0.1:8008/"
    assert config.server.data_dir == folder / "data"
    assert config.registers_without_verification
    assert config.registration.shared_secret is None
    assert config.database.dsn is None


def test_file_in_the_working_folder_is_found() -> None:
    written("server: {name: found.example.org}")
    assert load().server.name == "found.example.org"


def test_named_file_wins_over_the_one_in_the_working_folder() -> None:
    written("server: {name: found.example.org}")
    named = written("server: {name: named.example.org}", "other.yaml")
    assert load(named).server.name == "named.example.org"


def test_missing_file_is_reported() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load(Path("nowhere.yaml"))


@pytest.mark.parametrize("text", ["", "# nothing\n", "server:\nmedia:\n"])
def test_file_of_comments_means_the_defaults(text: str) -> None:
    assert load(written(text)) == load()


def test_paths_are_relative_to_the_file(folder: Path) -> None:
    config = load(written("{server: {data_dir: d}, media: {path: ../m}}", "etc/homeserver.yaml"))
    assert config.server.data_dir == folder / "etc" / "d"
    assert config.media_path == folder / "etc" / ".." / "m"
    assert config.signing_key_path == folder / "etc" / "d" / "signing.key"


def test_command_line_wins_over_environment_over_file(folder: Path) -> None:
    path = written("server: {name: a.example.org, data_dir: x}\nlogging: {level: debug}")
    environ = {"HOMESERVER_SERVER_NAME": "b.example.org", "HOMESERVER_LOGGING_LEVEL": "error"}
    overrides = Overrides(server_name="c.example.org", data_dir=Path("y"), bind="[::1]:1234")
    config = load(path, environ=environ, overrides=overrides)
    assert config.server.name == "c.example.org"
    assert config.server.data_dir == folder / "y"
    assert config.logging.level == "error"
    assert [(each.address, each.port) for each in config.listeners] == [("::1", 1234)]
    assert config.public_base_url == "http://[::1]:1234/"


@pytest.mark.parametrize("bind", ["8008", "localhost:", "localhost:http", "localhost:70000"])
def test_bind_must_be_host_and_port(bind: str) -> None:
    with pytest.raises(ConfigError):
        load(overrides=Overrides(bind=bind))


def test_bind_without_host_means_all_addresses() -> None:
    assert load(overrides=Overrides(bind=":8008")).listeners[0].address == "0.0.0.0"


def test_environment_sets_text_numbers_lists_and_nested_settings() -> None:
    environ = {
        "HOMESERVER_DATABASE_DSN": "postgresql://u:p@db/name",
        "HOMESERVER_DATABASE_MAX_CONNECTIONS": "33",
        "HOMESERVER_RATE_LIMITS_ENABLED": "false",
        "HOMESERVER_RATE_LIMITS_GROUPS_LOGIN": "{per_second: 3, burst: 7}",
        "HOMESERVER_REGISTRATION_CAPTCHA_VERIFY_URL": "http://127.0.0.1:1/verify",
        "HOMESERVER_ROOMS_DEFAULT_VERSION": "10",
        "HOMESERVER_FEDERATION_BLOCKED_IP_RANGES": "[]",
        "HOMESERVER_LISTENERS": "[{port: 8448}, {port: 8449, serves: [metrics]}]",
        "HOMESERVER_PORT": "tcp://10.0.0.1:80",
    }
    config = load(environ=environ)
    assert config.database.dsn == Secret("postgresql://u:p@db/name")
    assert config.database.max_connections == 33
    assert not config.rate_limits.enabled
    assert config.rate_limits.groups.login.burst == 7
    assert config.registration.captcha.verify_url == "http://127.0.0.1:1/verify"
    assert config.rooms.default_version == "10"
    assert config.federation.blocked_ip_ranges == ()
    assert [each.port for each in config.listeners] == [8448, 8449]


def test_environment_that_is_not_yaml_is_reported() -> None:
    with pytest.raises(ConfigError, match="HOMESERVER_LISTENERS"):
        load(environ={"HOMESERVER_LISTENERS": "[{port: 8448"})


def test_secret_comes_from_a_file_without_its_line_end() -> None:
    written("hunter2\n", "secrets/shared")
    config = load(written("registration: {shared_secret_file: secrets/shared}"))
    assert config.registration.shared_secret == Secret("hunter2")


def test_secret_in_the_environment_wins_over_its_file() -> None:
    path = written("registration: {shared_secret_file: nowhere}")
    config = load(path, environ={"HOMESERVER_REGISTRATION_SHARED_SECRET": "hunter2"})
    assert config.registration.shared_secret == Secret("hunter2")


def test_secret_file_that_cannot_be_read_is_reported() -> None:
    faults = faults_in("registration: {shared_secret_file: nowhere}")
    assert "nowhere" in faults["registration.shared_secret_file"]


def test_empty_secret_file_is_reported() -> None:
    written("\n", "empty")
    assert "empty" in faults_in("redis: {url_file: empty}")["redis.url_file"]


def test_secret_given_twice_is_reported() -> None:
    written("a", "secret")
    faults = faults_in("registration: {shared_secret: b, shared_secret_file: secret}")
    assert "registration.shared_secret_file" in faults


def test_secret_is_not_shown() -> None:
    config = load(written("registration: {shared_secret: hunter2}"))
    assert "hunter2" not in repr(config)
    assert config.registration.shared_secret is not None
    assert config.registration.shared_secret.reveal() == "hunter2"


def test_all_faults_are_reported_in_plain_words_with_their_place() -> None:
    faults = faults_in("""
        server: {name: 7, public_base_url: true}
        listeners: [{port: http}, {port: 99999}, {serves: [clients]}, 3]
        database: {max_conections: 3, min_connections: 0}
        passwords: [1]
        jwt: {algorithm: none}
        rate_limits: {groups: {login: {per_second: 1}}}
        federation: {blocked_ip_ranges: [10.0.0.1/8, 3]}
        spam: {}
    """)
    assert faults == {
        "server.name": "expected text, not a whole number; put it in quotes",
        "server.public_base_url": "expected text, not true or false; put it in quotes",
        "listeners[0].port": "expected a whole number, not text",
        "listeners[1].port": "must be at most 65535",
        "listeners[2].serves[0]": "'clients' is not one of the choices",
        "listeners[3]": "expected a section of settings",
        "database.max_conections": "is not a setting; did you mean max_connections?",
        "database.min_connections": "must be at least 1",
        "passwords": "expected a section of settings",
        "jwt.algorithm": "'none' is not one of the choices",
        "rate_limits.groups.login.burst": "is missing",
        "federation.blocked_ip_ranges[0]": (
            "'10.0.0.1/8' is not a range of IP addresses such as 10.0.0.0/8 or fc00::/7"
        ),
        "spam": "is not a setting",
    }


def test_setting_given_twice_is_reported_with_its_line() -> None:
    assert faults_in("server:\n  name: a\n  name: b\n") == {
        "server.name": "is set twice, the second time in line 3"
    }


@pytest.mark.parametrize("text", ["server: [", "- a\n- b\n", "just text", "a: !!python/object x"])
def test_file_that_holds_no_settings_is_reported(text: str) -> None:
    with pytest.raises(ConfigError):
        load(written(text))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("server: {name: 'not a name'}", "server.name"),
        ("server: {public_base_url: matrix.example.org}", "server.public_base_url"),
        ("server: {public_base_url: 'https://a/?b'}", "server.public_base_url"),
        ("listeners: []", "listeners"),
        ("listeners: [{port: 1}, {port: 1}]", "listeners"),
        ("listeners: [{serves: []}]", "listeners[0].serves"),
        ("listeners: [{tls_key: homeserver.yaml}]", "listeners[0]"),
        ("listeners: [{tls_key: a, tls_certificate: homeserver.yaml}]", "listeners[0].tls_key"),
        ("database: {dsn: 'mysql://x'}", "database.dsn"),
        ("database: {min_connections: 20}", "database.min_connections"),
        ("redis: {url: 'localhost:6379'}", "redis.url"),
        ("rooms: {default_version: '99'}", "rooms.default_version"),
        ("registration: {captcha: {site_key: a}}", "registration.captcha"),
        ("registration: {requires_email: true}", "registration.requires_email"),
        ("registration: {without_verification: false}", "registration.enabled"),
        ("registration: {terms: [{id: a, version: '1'}]}", "registration.terms[0].languages"),
        ("jwt: {enabled: true}", "jwt.enabled"),
        ("email: {smtp_host: a}", "email.smtp_host"),
        ("email: {username: a}", "email"),
        ("federation: {ca_files: [nowhere.pem]}", "federation.ca_files"),
        (
            "federation: {trusted_key_servers: [{server_name: 'a b'}]}",
            "federation.trusted_key_servers[0].server_name",
        ),
        ("appservices: {registration_files: [nowhere]}", "appservices.registration_files"),
        ("tracing: {zipkin_url: zipkin}", "tracing.zipkin_url"),
    ],
)
def test_settings_that_do_not_fit_together_are_reported(text: str, place: str) -> None:
    assert list(faults_in(text)) == [place]


@pytest.mark.parametrize("text", ["database: {dsn: 'x:hunter2'}", "redis: {url: 'x:hunter2'}"])
def test_fault_does_not_show_a_password(text: str) -> None:
    assert "hunter2" not in str(faults_in(text))


@pytest.mark.parametrize(
    "text",
    [
        "listeners: [{address: 0.0.0.0}]",
        "listeners: [{address: '::'}]",
        "listeners: [{address: matrix.example.org}]",
        "listeners: [{port: 1}, {unix_socket: s}]",
        "listeners: [{trusted_proxies: [127.0.0.1]}]",
        "server: {public_base_url: 'https://matrix.example.org'}",
        "registration: {enabled: false, without_verification: true}",
    ],
)
def test_server_that_others_reach_does_not_register_without_verification(text: str) -> None:
    assert not load(written(text)).registers_without_verification


@pytest.mark.parametrize(
    "text",
    [
        "listeners: [{address: 127.0.0.3}, {address: '::1', port: 1}, {address: localhost}]",
        "{listeners: [{address: 0.0.0.0}], registration: {without_verification: true}}",
    ],
)
def test_local_or_willing_server_registers_without_verification(text: str) -> None:
    assert load(written(text)).registers_without_verification


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("server: {public_base_url: 'https://m.example.org'}", "https://m.example.org/"),
        ("listeners: [{port: 1, serves: [federation]}, {port: 2}]", "http://127.0.0.1:2/"),
        ("{listeners: [{unix_socket: s}], server: {name: a.example}}", "https://a.example/"),
    ],
)
def test_public_base_url_is_set_or_guessed(text: str, url: str) -> None:
    assert load(written(text)).public_base_url == url


def test_private_addresses_are_blocked_by_default() -> None:
    config = Config()
    assert config.federation.blocked_ip_ranges == PRIVATE_RANGES
    assert config.outgoing_http.blocked_ip_ranges == PRIVATE_RANGES
    assert IpRange("192.168.0.0/16") in PRIVATE_RANGES


def test_numbers_among_the_settings_of_postgresql_need_no_quotes() -> None:
    text = "database: {embedded_settings: {max_connections: 20, jit: false, work_mem: 8MB}}"
    assert load(written(text)).database.embedded_settings == {
        "max_connections": "20",
        "jit": "off",
        "work_mem": "8MB",
    }


def test_lists_of_sections_are_read() -> None:
    config = load(
        written("""
        registration:
          terms:
            - id: privacy
              version: '1.0'
              languages: {en: {name: Privacy, url: 'https://example.org/privacy'}}
        federation:
          trusted_key_servers:
            - server_name: keys.example.org
              verify_keys: {'ed25519:a': AAAA}
        room_directory:
          publication_rules: [{action: deny, user: '@spam*'}]
        signing:
          old_verify_keys: [{key_id: 'ed25519:old', key: AAAA, expired_ts: 1}]
        """)
    )
    [policy] = config.registration.terms
    assert policy.languages["en"].url == "https://example.org/privacy"
    [key_server] = config.federation.trusted_key_servers
    assert key_server.verify_keys == {"ed25519:a": "AAAA"}
    [rule] = config.room_directory.publication_rules
    assert (rule.action, rule.user, rule.room) == ("deny", "@spam*", "*")
    assert config.signing.old_verify_keys[0].key_id == "ed25519:old"


def test_fault_inside_a_value_has_its_place() -> None:
    text = "registration: {terms: [{id: a, version: '1', languages: {en: {name: b}}}]}"
    [place] = faults_in(text)
    assert place.startswith("registration.terms[0].languages")
