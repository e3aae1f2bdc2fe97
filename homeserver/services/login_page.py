"""A page that logs in, for clients that know no login type. Spec:
client-server-api/#login-fallback
"""

from typing import Final

from homeserver.services.pages import Pages
from homeserver.web.answers import Page

# The parameters of the page's address go into the request: "non-credential parameters valid
# for the /login endpoint can be provided as query string parameters here".
_SCRIPT: Final = """
const form = document.getElementById("login");
const error = document.getElementById("error");
const providers = document.getElementById("providers");
const api = "/_matrix/client/v3/login";
const fail = (failure) => {
    error.textContent = failure.message;
    error.hidden = false;
};
const answerOf = async (response) => {
    const answer = await response.json();
    if (!response.ok) {
        throw new Error(answer.error);
    }
    return answer;
};
const logIn = async (proof) => {
    error.hidden = true;
    const body = {};
    new URLSearchParams(window.location.search).forEach((value, name) => {
        body[name] = name === "refresh_token" ? value === "true" : value;
    });
    delete body.loginToken;
    try {
        const answer = await answerOf(await fetch(api, {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify({ ...body, ...proof }),
        }));
        if (window.matrixLogin && window.matrixLogin.onLogin) {
            window.matrixLogin.onLogin(answer);
        } else if (window.onLogin) {
            window.onLogin(answer);
        }
    } catch (failure) {
        fail(failure);
    }
};
const here = new URL(window.location.href);
const token = here.searchParams.get("loginToken");
here.searchParams.delete("loginToken");
const offer = (name, path) => {
    const link = document.createElement("a");
    link.textContent = name;
    link.href = `${api}/sso/redirect${path}?redirectUrl=${encodeURIComponent(here.href)}`;
    const item = document.createElement("p");
    item.append(link);
    providers.append(item);
};
const show = async () => {
    const { flows } = await answerOf(await fetch(api));
    form.hidden = !flows.some((flow) => flow.type === "m.login.password");
    const sso = flows.find((flow) => flow.type === "m.login.sso");
    for (const each of (sso && sso.identity_providers) || []) {
        offer(`Log in with ${each.name}`, `/${encodeURIComponent(each.id)}`);
    }
};
show().catch(fail);
if (token) {
    window.history.replaceState(null, "", here.href);
    logIn({ type: "m.login.token", token });
}
form.addEventListener("submit", (event) => {
    event.preventDefault();
    logIn({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: form.elements.user.value },
        password: form.elements.password.value,
    });
});
"""


class LoginPage:
    """The page of `GET /_matrix/static/client/login/`."""

    def __init__(self, pages: Pages) -> None:
        self._page = pages.render_with_script("login.html", _SCRIPT, policy="connect-src 'self'")

    def show(self) -> Page:
        """Return the page, the same for everybody."""
        return self._page
