"""What a provider says is believed only if it can be proven. OpenID Connect Core 3.1.3.7"""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from homeserver.config.sections.outgoing_http import OutgoingHttpSection
from homeserver.config.sections.single_sign_on import SingleSignOnSection
from homeserver.config.values import IpRange
from tests.flows.single_sign_on.conftest import (
    BrowserMaker,
    NodeMaker,
    log_in,
    redirect,
    trusting,
)
from tests.support.account_node import AccountNode
from tests.support.browser import BASE_URL, CALLBACK, Browser
from tests.support.clock import FakeClock
from tests.support.sign_in_providers import CLIENT_ID, FakeOidc, rsa_key

NOW = 1_700_000_000


LIES: list[dict[str, Any]] = [
    {"nonce": "another"},
    {"nonce": None},
    {"nonce": 1},
    {"aud": "another"},
    {"aud": None},
    {"aud": [CLIENT_ID, "another"]},
    {"azp": "another"},
    {"iss": "https://evil.example"},
    {"iss": None},
    {"exp": NOW - 3600},
    {"exp": None},
    {"exp": True},
    {"exp": float("nan")},
    {"iat": float("nan")},
    {"iat": NOW + 3600},
    {"iat": None},
    {"nbf": NOW + 3600},
    {"sub": None},
    {"sub": ""},
    {"sub": "a\0b"},
    {"sub": "\ud800"},
    {"sub": ["subject-1"]},
    {"sub": "x" * 256},
]


async def test_a_token_with_a_wrong_claim_logs_nobody_in(
    node: AccountNode, browser: Browser, oidc: FakeOidc
) -> None:
    for lies in LIES:
        oidc.lies = lies
        seen = await browser.opens(redirect())
        assert (seen.status, "begin again" in seen.text) == (403, True), lies
        assert not browser.cookies
    assert await log_of_accounts(node) == []


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID},
        {"exp": NOW - 30},
        {"iat": NOW + 30.5},
        {"sub": 12345},
    ],
)
async def test_a_token_that_is_unusual_but_right_is_taken(
    browser: Browser, oidc: FakeOidc, claims: dict[str, Any]
) -> None:
    oidc.lies = claims
    assert (await browser.opens(redirect())).is_elsewhere


@pytest.mark.parametrize("algorithm", ["none", "HS256", "PS256"])
async def test_only_the_algorithms_of_the_configuration_count(
    node: AccountNode, browser: Browser, oidc: FakeOidc, algorithm: str
) -> None:
    oidc.algorithm = algorithm
    assert (await browser.opens(redirect())).status == 403
    assert await log_of_accounts(node) == []


async def test_a_signature_by_an_unknown_key_is_refused(browser: Browser, oidc: FakeOidc) -> None:
    assert (await browser.opens(redirect())).is_elsewhere
    oidc.keys["key-0"] = rsa_key(1)
    oidc.keys["key-1"], oidc.published = rsa_key(0), {"key-1"}
    assert (await browser.opens(redirect())).status == 403


@pytest.mark.parametrize("is_named", [True, False])
async def test_keys_that_the_provider_has_replaced_are_read_again(
    browser: Browser, oidc: FakeOidc, is_named: bool
) -> None:
    oidc.key_id = "key-0" if is_named else None
    assert (await browser.opens(redirect())).is_elsewhere
    assert (await browser.opens(redirect())).is_elsewhere
    assert oidc.asked.count("/keys") == 1
    oidc.rotates("key-1" if is_named else "key-0", rsa_key(1))
    oidc.key_id = oidc.key_id if is_named else None
    assert (await browser.opens(redirect())).is_elsewhere
    assert oidc.asked.count("/keys") == 2


async def test_keys_of_other_kinds_are_understood(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc
) -> None:
    settings = oidc.settings(id_token_algorithms=("RS256", "ES256", "EdDSA"))
    async with sso_node(single_sign_on=trusting(oidc_providers=(settings,))) as node:
        browser = new_browser(node)
        oidc.rotates("ec", ec.generate_private_key(ec.SECP256R1()), "ES256")
        assert (await browser.opens(redirect())).is_elsewhere
        oidc.rotates("ed", ed25519.Ed25519PrivateKey.generate(), "EdDSA")
        assert (await browser.opens(redirect())).is_elsewhere


async def test_what_a_provider_says_of_itself_is_read_once_an_hour(
    browser: Browser, oidc: FakeOidc, clock: FakeClock
) -> None:
    path = "/.well-known/openid-configuration"
    await browser.opens(redirect())
    await browser.opens(redirect())
    assert oidc.asked.count(path) == 1
    await clock.advance(3601)
    await browser.opens(redirect())
    assert oidc.asked.count(path) == 2


async def test_a_discovery_document_of_another_issuer_is_refused(
    browser: Browser, oidc: FakeOidc
) -> None:
    oidc.lies = {"issuer": "https://evil.example"}
    assert (await browser.opens(redirect())).status == 502


async def test_a_provider_that_is_down_is_said_to_be(browser: Browser, oidc: FakeOidc) -> None:
    oidc.is_down = True
    seen = await browser.opens(redirect())
    assert (seen.status, "cannot be reached" in seen.text) == (502, True)
    oidc.is_down = False
    at_provider = await browser.opens_once(redirect())
    callback = await browser.opens_once(at_provider.headers["Location"])
    oidc.is_down = True
    assert (await browser.opens(callback.headers["Location"])).status == 502
    oidc.is_down = False
    assert (await browser.opens(redirect())).is_elsewhere


async def arrives(browser: Browser) -> str:
    """Go to the provider and return the address that leads back."""
    at_provider = await browser.opens_once(redirect())
    return (await browser.opens_once(at_provider.headers["Location"])).headers["Location"]


async def test_the_way_back_is_open_once(browser: Browser) -> None:
    callback = await arrives(browser)
    cookies = dict(browser.cookies)
    assert (await browser.opens(callback)).is_elsewhere
    browser.cookies = cookies
    assert (await browser.opens(callback)).status == 403


async def test_the_way_back_is_open_to_the_browser_that_began(
    node: AccountNode, browser: Browser, new_browser: BrowserMaker
) -> None:
    callback = await arrives(browser)
    other = new_browser(node)
    assert (await other.opens(callback)).status == 403
    await other.opens_once(redirect())
    assert (await other.opens(callback)).status == 403
    # Somebody else's attempt takes nothing away.
    assert (await browser.opens(callback)).is_elsewhere


async def test_the_way_back_closes_with_time(
    browser: Browser, clock: FakeClock, node: AccountNode
) -> None:
    callback = await arrives(browser)
    await clock.advance(901)
    assert (await browser.opens(callback)).status == 403


async def test_a_code_that_was_used_is_refused_by_the_provider(
    browser: Browser, oidc: FakeOidc
) -> None:
    first, second = await arrives(browser), await arrives(browser)
    code = parse_qs(urlsplit(first).query)["code"][0]
    state = parse_qs(urlsplit(second).query)["state"][0]
    assert (await browser.opens(first)).is_elsewhere
    mixed = f"{BASE_URL}{CALLBACK}?state={state}&code={code}"
    assert (await browser.opens(mixed)).status == 403


ANSWERS = [
    ("", 403),
    ("state=", 403),
    ("state=wrong&code=x", 403),
    ("state={state}x&code={code}", 403),
    ("state={state}", 400),
    ("state={state}&code=", 400),
    ("state={state}&code=wrong", 403),
    ("state={state}&ticket={code}", 400),
    ("state={state}&error=access_denied&error_description=%3Cscript%3E", 403),
    ("state={state}&code={code}&iss=https%3A%2F%2Fevil.example", 403),
]


async def test_what_no_provider_has_sent_leads_nowhere(browser: Browser) -> None:
    for query, status in ANSWERS:
        genuine = parse_qs(urlsplit(await arrives(browser)).query)
        filled = query.format(state=genuine["state"][0], code=genuine["code"][0])
        seen = await browser.opens(f"{BASE_URL}{CALLBACK}?{filled}")
        assert (seen.status, "<script" in seen.text) == (status, False), query
        assert "Content-Security-Policy" in seen.headers


@pytest.mark.parametrize("authentication", ["client_secret_basic", "client_secret_post"])
async def test_addresses_and_the_way_of_the_secret_can_be_configured(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc, authentication: str
) -> None:
    settings = oidc.settings(
        discovery_enabled=False,
        authorization_endpoint=f"{oidc.issuer}/authorize",
        token_endpoint=f"{oidc.issuer}/token",
        jwks_uri=f"{oidc.issuer}/keys",
        client_authentication=authentication,
    )
    async with sso_node(single_sign_on=trusting(oidc_providers=(settings,))) as node:
        landed = await new_browser(node).opens(redirect())
        assert (await log_in(node, landed)).status == 200
        assert "/.well-known/openid-configuration" not in oidc.asked
        is_in_header = bool(oidc.tokens[0]["Authorization"])
        assert is_in_header == (authentication == "client_secret_basic")
        assert ("client_secret" in oidc.tokens[0]) != is_in_header


async def test_more_is_asked_of_a_user_where_it_is_configured(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc
) -> None:
    oidc.claims = {"sub": "1"}
    oidc.userinfo = {"preferred_username": "carol", "iss": "https://evil.example"}
    section = trusting(oidc_providers=(oidc.settings(userinfo_enabled=True),))
    async with sso_node(single_sign_on=section) as node:
        browser = new_browser(node)
        landed = await browser.opens(redirect())
        assert (await log_in(node, landed)).json["user_id"] == "@carol:localhost"
        oidc.userinfo["sub"] = "2"
        assert (await browser.opens(redirect())).status == 403


async def test_a_provider_in_a_private_network_has_to_be_allowed(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc
) -> None:
    guarded = {"outgoing_http": OutgoingHttpSection()}
    closed = trusting(oidc_providers=(oidc.settings(),))
    async with sso_node(single_sign_on=closed, **guarded) as node:
        assert (await new_browser(node).opens(redirect())).status == 502
        assert oidc.asked == []
    opened = trusting(oidc_providers=(oidc.settings(),), allowed_ip_ranges=(IpRange("127.0.0.1"),))
    async with sso_node(single_sign_on=opened, **guarded) as node:
        assert (await new_browser(node).opens(redirect())).is_elsewhere


async def test_a_provider_that_was_taken_out_logs_nobody_in(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc
) -> None:
    section = trusting(oidc_providers=(oidc.settings(),))
    other = SingleSignOnSection(oidc_providers=(oidc.settings(id="other"),))
    async with sso_node(single_sign_on=section) as one, sso_node(single_sign_on=other) as two:
        browser = new_browser(one)
        callback = await arrives(browser)
        elsewhere = new_browser(two)
        elsewhere.cookies = browser.cookies
        assert (await elsewhere.opens(callback)).status == 404


async def log_of_accounts(node: AccountNode) -> list[tuple[str, str, str | None]]:
    return [entry for entry in await node.log() if entry[1] == "account_changed"]
