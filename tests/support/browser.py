"""A browser: it follows redirections and keeps cookies, and sends forms."""

import html
import re
from collections.abc import Callable, Mapping
from http.cookies import SimpleCookie
from typing import NamedTuple

import aiohttp
from yarl import URL

BASE_URL = "https://matrix.example"
CALLBACK = "/_matrix/client/unstable/org.homeserver/single_sign_on/callback"
_MAX_HOPS = 10


class Seen(NamedTuple):
    """Where the browser is, and what it shows; `status` 0: an application has taken over."""

    url: str
    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def is_elsewhere(self) -> bool:
        return self.status == 0

    @property
    def login_token(self) -> str:
        assert self.is_elsewhere, self.text
        return URL(self.url).query["loginToken"]

    def fields(self) -> dict[str, str]:
        """Return the hidden fields of the form that is shown."""
        pairs = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', self.text)
        return {name: html.unescape(value) for name, value in pairs}

    def action(self) -> str:
        """Return where the form goes."""
        found = re.search(r'<form method="post"(?: action="([^"]*)")?>', self.text)
        assert found is not None, self.text
        return html.unescape(found[1] or URL(self.url).path)

    def links(self) -> list[str]:
        return [html.unescape(each) for each in re.findall(r'<a href="([^"]*)"', self.text)]


class Browser:
    """Goes to one server under its public address; `node` says by which node it is answered."""

    def __init__(
        self, http: aiohttp.ClientSession, node: Callable[[], str], *, providers: tuple[str, ...]
    ) -> None:
        """`providers`: addresses that are opened; at any other the browser stops."""
        self._http = http
        self._node = node
        self._providers = providers
        self.cookies: dict[str, str] = {}
        self.set_cookies: list[str] = []
        self.visited: list[str] = []

    async def opens(self, url: str) -> Seen:
        """Follow an address as far as it leads."""
        return await self._goes("GET", url, None)

    async def opens_once(self, url: str) -> Seen:
        """Open an address without following where it leads."""
        return await self._request("GET", url, None)

    async def submits(self, seen: Seen, **fields: str) -> Seen:
        """Send the form that is shown, with more fields."""
        return await self._goes("POST", f"{BASE_URL}{seen.action()}", {**seen.fields(), **fields})

    async def _goes(self, method: str, url: str, form: Mapping[str, str] | None) -> Seen:
        for _ in range(_MAX_HOPS):
            seen = await self._request(method, url, form)
            if seen.status not in (302, 303):
                return seen
            method, url, form = "GET", seen.headers["Location"], None
        raise AssertionError(f"too many redirections, the last to {url}")

    async def _request(self, method: str, url: str, form: Mapping[str, str] | None) -> Seen:
        if url.startswith("/"):
            url = BASE_URL + url
        self.visited.append(url)
        is_ours = url.startswith(f"{BASE_URL}/")
        if not is_ours and not url.startswith(self._providers):
            return Seen(url, 0, "", {})
        target = self._node() + url.removeprefix(BASE_URL) if is_ours else url
        headers = {}
        if is_ours and self.cookies:
            headers["Cookie"] = "; ".join(f"{n}={v}" for n, v in self.cookies.items())
        async with self._http.request(
            method, URL(target, encoded=True), data=form, headers=headers, allow_redirects=False
        ) as response:
            if is_ours:
                self._keep(response.headers.getall("Set-Cookie", []))
            return Seen(url, response.status, await response.text(), dict(response.headers))

    def _keep(self, set_cookies: list[str]) -> None:
        self.set_cookies += set_cookies
        for text in set_cookies:
            for name, morsel in SimpleCookie(text).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
