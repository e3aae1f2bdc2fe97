"""Addresses of clients, as the login through providers takes them."""

import pytest

from homeserver.services.single_sign_on.client_urls import (
    ClientUrls,
    shown_to_users,
    with_login_token,
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example", "https://a.example?loginToken=t"),
        ("https://a.example/", "https://a.example/?loginToken=t"),
        ("https://a.example/?", "https://a.example/?loginToken=t"),
        ("https://a.example/?x=%26&y", "https://a.example/?x=%26&y&loginToken=t"),
        ("https://a.example/#/home?x=1", "https://a.example/?loginToken=t#/home?x=1"),
        ("https://a.example/?loginToken&x", "https://a.example/?x&loginToken=t"),
        ("https://a.example/?a=1&loginToken=u#f", "https://a.example/?a=1&loginToken=t#f"),
        ("app:", "app:?loginToken=t"),
        ("im.app://login?x=1", "im.app://login?x=1&loginToken=t"),
    ],
)
def test_a_token_is_added_and_the_rest_kept(url: str, expected: str) -> None:
    assert with_login_token(url, "t") == expected


@pytest.mark.parametrize(
    ("url", "is_trusted"),
    [
        ("https://a.example/web", True),
        ("https://a.example/web/", True),
        ("https://a.example/web/x?y#z", True),
        ("https://a.example/website", False),
        ("https://a.example/", False),
        ("https://a.example/web/../x", False),
        ("https://a.example/web/%2e%2E/x", False),
        ("https://a.example/web/%2e%2e%2fx", False),
        ("https://b.example/any", True),
        ("https://b.example", True),
        ("https://b.example.c.example/", False),
        ("im.app:/callback", True),
        ("im.app:/other", False),
        ("im.other:/callback", False),
    ],
)
def test_trust_ends_where_the_address_does(url: str, is_trusted: bool) -> None:
    urls = ClientUrls(("https://a.example/web", "https://b.example/", "im.app:/callback"))
    assert urls.is_trusted(urls.check(url)) == is_trusted


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example:444/x?y", "https://a.example:444"),
        ("im.app://login/x", "im.app://login"),
        ("im.app:/x", "im.app:"),
    ],
)
def test_people_see_what_they_can_judge(url: str, shown: str) -> None:
    assert shown_to_users(url) == shown
