"""Where a request comes from, and whom to believe about it."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from multidict import CIMultiDict

from homeserver.web.connection import (
    UNIX_PEERS,
    ConnectionFacts,
    RequestIds,
    header_text,
    rate_limit_key,
)


def facts(
    peer: Any,
    headers: list[tuple[str, str]] | None = None,
    trusted: tuple[str, ...] = ("127.0.0.1/32", "::1/128", "10.0.0.0/8"),
) -> Any:
    request = SimpleNamespace(
        protocol=SimpleNamespace(peername=peer), headers=CIMultiDict(headers or [])
    )
    return ConnectionFacts("main", trusted, RequestIds("n")).of(cast(Any, request))


def forwarded(*values: str) -> list[tuple[str, str]]:
    return [("X-Forwarded-For", value) for value in values]


def test_a_direct_peer_is_the_client_whatever_it_claims() -> None:
    assert facts(("192.0.2.1", 4711), forwarded("198.51.100.1")).ip == "192.0.2.1"


def test_a_trusted_proxy_tells_the_client() -> None:
    assert facts(("127.0.0.1", 1), forwarded("198.51.100.1")).ip == "198.51.100.1"


def test_a_trusted_proxy_that_tells_nothing_is_the_client() -> None:
    assert facts(("127.0.0.1", 1)).ip == "127.0.0.1"


def test_the_last_address_that_is_no_proxy_of_ours_counts() -> None:
    chain = forwarded("203.0.113.9, 198.51.100.1, 10.1.1.1")
    assert facts(("127.0.0.1", 1), chain).ip == "198.51.100.1"


def test_several_headers_are_one_list() -> None:
    chain = forwarded("203.0.113.9", "198.51.100.1, 10.1.1.1")
    assert facts(("127.0.0.1", 1), chain).ip == "198.51.100.1"


def test_a_chain_of_proxies_only_ends_at_the_first() -> None:
    assert facts(("127.0.0.1", 1), forwarded("10.0.0.1, 10.0.0.2")).ip == "10.0.0.1"


@pytest.mark.parametrize("text", ["garbage", "", "1.2.3.4.5", "198.51.100.1, x", "unknown"])
def test_nonsense_in_the_header_is_not_followed(text: str) -> None:
    assert facts(("127.0.0.1", 1), forwarded(text)).ip == "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "ip"),
    [
        ("198.51.100.1:4711", "198.51.100.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:DB8::1", "2001:db8::1"),
    ],
)
def test_ports_and_brackets_of_proxies_are_understood(text: str, ip: str) -> None:
    assert facts(("127.0.0.1", 1), forwarded(text)).ip == ip


def test_an_ipv4_address_on_an_ipv6_socket_is_an_ipv4_address() -> None:
    assert facts(("::ffff:192.0.2.1", 1, 0, 0)).ip == "192.0.2.1"
    assert facts(("::ffff:127.0.0.1", 1, 0, 0), forwarded("198.51.100.1")).ip == "198.51.100.1"


def test_a_mapped_address_from_a_proxy_is_the_ipv4_address() -> None:
    assert facts(("127.0.0.1", 1), forwarded("::ffff:198.51.100.1")).ip == "198.51.100.1"


def test_a_unix_socket_is_believed_when_its_peers_are_trusted() -> None:
    assert facts("", forwarded("198.51.100.1"), (UNIX_PEERS,)).ip == "198.51.100.1"
    assert facts("", forwarded("198.51.100.1"), ()).ip == ""


def test_nobody_is_believed_without_trusted_proxies() -> None:
    assert facts(("127.0.0.1", 1), forwarded("198.51.100.1"), ()).ip == "127.0.0.1"


def test_request_ids_are_ours_unless_a_trusted_proxy_gives_one() -> None:
    given = [("X-Request-ID", "abc-1")]
    assert facts(("127.0.0.1", 1), given).request_id == "abc-1"
    assert facts(("192.0.2.1", 1), given).request_id == "n-1"


@pytest.mark.parametrize("given", ["", "a b", "a" * 65, "ä", 'a"b'])
def test_a_request_id_that_would_spoil_logs_is_replaced(given: str) -> None:
    assert facts(("127.0.0.1", 1), [("X-Request-ID", given)]).request_id == "n-1"


def test_request_ids_do_not_repeat() -> None:
    ids = RequestIds("p")
    assert [ids.next() for _ in range(3)] == ["p-1", "p-2", "p-3"]


def test_headers_become_text_that_can_be_stored() -> None:
    read = facts(("192.0.2.1", 1), [("User-Agent", "a\udcff" + "x" * 1000), ("Cookie", "c=1")])
    assert read.user_agent == "a?" + "x" * 510
    assert read.cookie == "c=1"
    assert read.listener == "main"
    assert header_text("ä") == "ä"


@pytest.mark.parametrize(
    ("ip", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("", ""),
        ("not:an:address", "not:an:address"),
    ],
)
def test_one_customer_is_one_caller(ip: str, key: str) -> None:
    assert rate_limit_key(ip) == key


def test_a_trusted_proxy_must_be_a_network() -> None:
    with pytest.raises(ValueError, match="proxy"):
        ConnectionFacts("main", ("proxy",), RequestIds("n"))
