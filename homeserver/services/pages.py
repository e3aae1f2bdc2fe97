"""HTML pages: templates, and which scripts a page may run."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from homeserver.web.answers import PAGE_POLICY, Page

_TEMPLATES: Final = Path(__file__).parent / "templates"


class Pages:
    """Renders the templates of this folder; whatever they are given is escaped."""

    def __init__(self) -> None:
        self._templates: Final = _environment()

    def render(
        self,
        template: str,
        values: Mapping[str, object],
        *,
        status: int = 200,
        policy: str = PAGE_POLICY,
    ) -> Page:
        """Return a page without any script of its own."""
        return Page(self._templates.get_template(template).render(values), status, policy)

    def render_with_script(self, template: str, script: str, *, policy: str = "") -> Page:
        """Return a page that runs one script of ours, inline; `policy` allows it more.

        The template puts `script` between its script tags. The policy names the script by its
        hash, so that nothing else runs.
        """
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy = "; ".join(filter(None, (PAGE_POLICY, f"script-src 'sha256-{digest}'", policy)))
        # Constant text of this program, which must reach the browser as it was hashed.
        trusted = Markup(script)  # noqa: S704
        return self.render(template, {"script": trusted}, policy=policy)


@cache
def _environment() -> Environment:
    # The templates belong to the program: each is compiled once in a process.
    return Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
