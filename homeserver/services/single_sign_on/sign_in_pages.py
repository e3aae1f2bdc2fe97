"""What a browser shows of a login through a provider."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

import msgspec

from homeserver.config.sections.registration import Policy
from homeserver.services.pages import Pages
from homeserver.services.single_sign_on.client_urls import shown_to_users
from homeserver.services.single_sign_on.flows import Arrived, FlowKey, SignInFlows
from homeserver.services.single_sign_on.provider import SignInFailed
from homeserver.services.single_sign_on.providers import KnownProvider
from homeserver.telemetry.log import get_logger
from homeserver.web.answers import PAGE_POLICY, Page

log = get_logger(__name__)

# Browsers apply `form-action` to every redirection after a form too, and these forms lead to
# providers, which lead anywhere, and to clients with schemes of their own.
_LEADING_ON: Final = PAGE_POLICY.replace("form-action 'self'; ", "")


class SignInPages:
    """Renders the pages; those of a flow carry its cookie."""

    def __init__(self, pages: Pages, flows: SignInFlows, server_name: str) -> None:
        self._pages = pages
        self._flows = flows
        self._server_name = server_name

    def choice(self, providers: Iterable[KnownProvider], redirect_url: str) -> Page:
        """Let the user choose a provider."""
        values = {"providers": list(providers), "redirect_url": quote(redirect_url, safe="")}
        return self._pages.render("sso_choice.html", values)

    def client(self, key: FlowKey, arrived: Arrived) -> Page:
        """Ask whether a client may have the account."""
        values = {
            "flow": key.flow_id,
            "user_id": arrived.user_id,
            "client": shown_to_users(arrived.redirect_url),
        }
        return self._of_flow(key, self._leading_on("sso_client.html", values))

    def new_account(
        self,
        key: FlowKey,
        arrived: Arrived,
        policies: Sequence[Policy],
        *,
        is_client_trusted: bool,
        username: str = "",
        error: str = "",
    ) -> Page:
        """Let a new user choose a name, and accept what is to be accepted."""
        values = {
            "flow": key.flow_id,
            "arrived": arrived,
            "server_name": self._server_name,
            "policies": [_in_english(each) for each in policies],
            "client": "" if is_client_trusted else shown_to_users(arrived.redirect_url),
            "username": username or arrived.attributes.localpart or "",
            "error": error,
        }
        status = 400 if error else 200
        return self._of_flow(key, self._leading_on("sso_new_account.html", values, status))

    def operation(
        self, key: FlowKey, operation: str, uia_session: str, providers: Sequence[KnownProvider]
    ) -> Page:
        """Ask whether an operation is what the user wants."""
        values = {
            "flow": key.flow_id,
            "operation": operation,
            "session": uia_session,
            "providers": providers,
        }
        return self._of_flow(key, self._leading_on("sso_operation.html", values))

    def failed(self, failure: SignInFailed, flow_id: str | None = None) -> Page:
        """Say why a login cannot go on, and end its flow in the browser."""
        if failure.status >= 500:
            log.warning("identity provider fails", reason=failure.reason)
        else:
            log.info("login through a provider fails", reason=failure.reason)
        page = self._pages.render("sso_failed.html", {"error": failure.text}, status=failure.status)
        return page if flow_id is None else self.without_flow(page, flow_id)

    def without_flow(self, page: Page, flow_id: str) -> Page:
        """Let a page end a flow in the browser."""
        return _with_cookie(page, self._flows.cleared_cookie(flow_id))

    def _of_flow(self, key: FlowKey, page: Page) -> Page:
        return _with_cookie(page, self._flows.cookie(key))

    def _leading_on(self, template: str, values: Mapping[str, object], status: int = 200) -> Page:
        return self._pages.render(template, values, status=status, policy=_LEADING_ON)


def _with_cookie(page: Page, cookie: str) -> Page:
    return msgspec.structs.replace(page, headers={**page.headers, "Set-Cookie": cookie})


def _in_english(policy: Policy) -> dict[str, str]:
    text = policy.languages.get("en") or next(iter(policy.languages.values()))
    return {"name": text.name, "url": text.url, "version": policy.version}
