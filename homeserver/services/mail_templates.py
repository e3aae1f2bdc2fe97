"""The texts of mails: templates that an operator may replace."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined, select_autoescape

_TEMPLATES: Final = Path(__file__).parent / "templates"
_SUBJECT: Final = "Subject:"


class MailText(msgspec.Struct, frozen=True):
    """A rendered mail."""

    subject: str
    text: str
    html: str


class MailTemplates:
    """Renders `mail_<name>.txt` and `mail_<name>.html`.

    The first line of the text is `Subject: …`. What is put into the HTML is escaped.
    """

    def __init__(self, own: Path | None) -> None:
        """`own`: a folder whose templates replace those that come with the server."""
        folders = [_TEMPLATES] if own is None else [own, _TEMPLATES]
        self._templates: Final = Environment(
            loader=ChoiceLoader([FileSystemLoader(folder) for folder in folders]),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def render(self, name: str, values: Mapping[str, object]) -> MailText:
        """Return a mail. Raises jinja2.TemplateError: a template of the operator is broken."""
        whole = self._templates.get_template(f"mail_{name}.txt").render(values)
        first, _, text = whole.partition("\n")
        subject = " ".join(first.removeprefix(_SUBJECT).split())
        html = self._templates.get_template(f"mail_{name}.html").render(values)
        return MailText(subject, text.lstrip("\n"), html)
