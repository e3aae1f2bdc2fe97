"""A node with providers, and browsers."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import aiohttp
import pytest

from homeserver.config.sections.server import ServerSection
from homeserver.config.sections.single_sign_on import SingleSignOnSection
from tests.support.account_node import AccountNode, Answer, account_config, running_account_node
from tests.support.browser import BASE_URL, Browser, Seen
from tests.support.clock import FakeClock
from tests.support.sign_in_providers import FakeCas, FakeOidc, cas_server, oidc_server

APP = "https://app.example/done?x=1"

NodeMaker: TypeAlias = Callable[..., AbstractAsyncContextManager[AccountNode]]


def redirect(url: str = APP, provider: str | None = None, version: str = "v3") -> str:
    """Return the address that a client opens."""
    path = f"/{provider}" if provider is not None else ""
    return (
        f"{BASE_URL}/_matrix/client/{version}/login/sso/redirect{path}"
        f"?redirectUrl={quote(url, safe='')}"
    )


def trusting(**settings: Any) -> SingleSignOnSection:
    """Return settings by which the client is trusted."""
    return SingleSignOnSection(trusted_client_urls=("https://app.example/",), **settings)


async def log_in(node: AccountNode, seen: Seen) -> Answer:
    """Log in as a client does that gets the token."""
    body = {"type": "m.login.token", "token": seen.login_token}
    return await node.call("POST", "login", body)


@pytest.fixture
async def oidc(clock: FakeClock) -> AsyncIterator[FakeOidc]:
    async with oidc_server(clock) as running:
        yield running


@pytest.fixture
async def cas() -> AsyncIterator[FakeCas]:
    async with cas_server() as running:
        yield running


@pytest.fixture
def sso_node(database_dsn: str, tmp_path: Path, clock: FakeClock) -> NodeMaker:
    """Starts a node behind its public address; takes `single_sign_on` and other sections."""

    def make(**sections: Any) -> AbstractAsyncContextManager[AccountNode]:
        server = ServerSection(name="localhost", data_dir=tmp_path, public_base_url=BASE_URL)
        config = account_config(database_dsn, tmp_path, **{"server": server, **sections})
        return running_account_node(config, clock)

    return make


@pytest.fixture
async def node(sso_node: NodeMaker, oidc: FakeOidc) -> AsyncIterator[AccountNode]:
    """A node with one provider, which trusts the client."""
    async with sso_node(single_sign_on=trusting(oidc_providers=(oidc.settings(),))) as running:
        yield running


BrowserMaker: TypeAlias = Callable[..., Browser]


@pytest.fixture
async def new_browser(oidc: FakeOidc, cas: FakeCas) -> AsyncIterator[BrowserMaker]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:

        def make(*nodes: AccountNode) -> Browser:
            """Return a browser whose requests go to the nodes in turn."""
            urls = [str(node.http._base_url).rstrip("/") for node in nodes]
            count = iter(range(10_000))
            return Browser(
                http, lambda: urls[next(count) % len(urls)], providers=(oidc.issuer, cas.url)
            )

        yield make


@pytest.fixture
def browser(new_browser: BrowserMaker, node: AccountNode) -> Browser:
    return new_browser(node)
