"""Server access control lists."""

import pytest

from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.server_acl import parse_server_acl

# The example of m.room.server_acl in the specification.
EXAMPLE: JsonObject = {
    "allow_ip_literals": False,
    "allow": ["*"],
    "deny": ["*.evil.com", "evil.com"],
}


def allows(content: JsonObject | None, server_name: str) -> bool:
    return parse_server_acl(content).allows(ServerName(server_name))


def test_a_room_without_the_event_allows_every_server() -> None:
    assert allows(None, "evil.com")
    assert allows(None, "1.2.3.4")


@pytest.mark.parametrize("server_name", ["good.com", "notevil.com", "evil.com.au", "good.com:8448"])
def test_what_is_not_denied_but_allowed_is_allowed(server_name: str) -> None:
    assert allows(EXAMPLE, server_name)


@pytest.mark.parametrize(
    "server_name",
    ["evil.com", "evil.com:8448", "evil.com:1234", "EVIL.com", "sub.evil.com", "a.b.Evil.Com:1"],
)
def test_denied_servers_are_denied_on_every_port_and_in_every_case(server_name: str) -> None:
    assert not allows(EXAMPLE, server_name)


def test_patterns_are_case_insensitive_too() -> None:
    assert not allows({"allow": ["*"], "deny": ["EVIL.com"]}, "evil.com")
    assert allows({"allow": ["GOOD.com"]}, "good.com")


def test_deny_comes_before_allow() -> None:
    assert not allows({"allow": ["evil.com"], "deny": ["evil.com"]}, "evil.com")


def test_question_marks_are_exactly_one_character() -> None:
    acl = {"allow": ["m?trix.org"]}
    assert allows(acl, "matrix.org")
    assert not allows(acl, "mtrix.org")


@pytest.mark.parametrize(
    "server_name",
    ["1.2.3.4", "1.2.3.4:8448", "001.2.3.4", "999.9.9.9", "[::1]", "[2001:db8::1]:8448"],
)
def test_ip_literals_are_denied_where_they_are_not_allowed(server_name: str) -> None:
    assert not allows({"allow": ["*"], "allow_ip_literals": False}, server_name)
    assert allows({"allow": ["*"], "allow_ip_literals": True}, server_name)


@pytest.mark.parametrize(
    "server_name", ["1.2.3", "1.2.3.4.5", "1.2.3.4.com", "a1.2.3.4", "1234.com"]
)
def test_names_that_look_a_little_like_literals_are_names(server_name: str) -> None:
    assert allows({"allow": ["*"], "allow_ip_literals": False}, server_name)


def test_a_bracketed_address_is_matched_without_its_port() -> None:
    acl = {"allow": ["*"], "deny": ["[2001:db8::*]"]}
    assert not allows(acl, "[2001:db8::1]:8448")
    assert not allows(acl, "[2001:db8::1]")
    assert allows(acl, "[2001:db9::1]")


@pytest.mark.parametrize("allow_ip_literals", [None, "false", 0, [], {}])
def test_anything_but_false_allows_ip_literals(allow_ip_literals: object) -> None:
    assert allows({"allow": ["*"], "allow_ip_literals": allow_ip_literals}, "1.2.3.4")


@pytest.mark.parametrize("allow", [None, "*", {"*": "*"}, 1, [1, None, ["*"], {}]])
def test_without_a_usable_allow_list_every_server_is_denied(allow: object) -> None:
    assert not allows({"allow": allow}, "good.com")
    assert not allows({}, "good.com")


@pytest.mark.parametrize("deny", [None, "*", {"*": "*"}, 1, [1, None, ["*"], {}]])
def test_an_unusable_deny_list_denies_nobody(deny: object) -> None:
    assert allows({"allow": ["*"], "deny": deny}, "good.com")


def test_entries_that_are_no_strings_do_not_spoil_the_others() -> None:
    acl = {"allow": [1, "*"], "deny": [None, "evil.com", 2]}
    assert allows(acl, "good.com")
    assert not allows(acl, "evil.com")


def test_ten_thousand_denied_servers() -> None:
    deny = [pattern for n in range(5_000) for pattern in (f"evil{n}.com", f"*.evil{n}.com")]
    acl = parse_server_acl({"allow": ["*"], "deny": deny})
    assert acl.allows(ServerName("good.com"))
    assert not acl.allows(ServerName("evil4999.com"))
    assert not acl.allows(ServerName("x.evil4999.com:8448"))
