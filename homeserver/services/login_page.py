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
form.addEventListener("submit", async (event) => {
    event.preventDefault();
    error.hidden = true;
    const body = {};
    new URLSearchParams(window.location.search).forEach((value, name) => {
        body[name] = name === "refresh_token" ? value === "true" : value;
    });
    body.type = "m.login.password";
    body.identifier = { type: "m.id.user", user: form.elements.user.value };
    body.password = form.elements.password.value;
    try {
        const response = await fetch("/_matrix/client/v3/login", {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify(body),
        });
        const answer = await response.json();
        if (!response.ok) {
            throw new Error(answer.error);
        }
        if (window.matrixLogin && window.matrixLogin.onLogin) {
            window.matrixLogin.onLogin(answer);
        } else if (window.onLogin) {
            window.onLogin(answer);
        }
    } catch (failure) {
        error.textContent = failure.message;
        error.hidden = false;
    }
});
"""


class LoginPage:
    """The page of `GET /_matrix/static/client/login/`."""

    def __init__(self, pages: Pages) -> None:
        self._page = pages.render_with_script("login.html", _SCRIPT, policy="connect-src 'self'")

    def show(self) -> Page:
        """Return the page, the same for everybody."""
        return self._page
