"""Section `logging`."""

from typing import Annotated, Literal

from homeserver.config.values import Section, about


class LoggingSection(Section, frozen=True, kw_only=True):
    """Log lines, on standard error. Metrics are not set here: a listener serves them."""

    format: Annotated[
        Literal["auto", "json", "text"],
        about("json for machines; text for people; auto: text in a terminal, else json."),
    ] = "auto"
    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        about("The least important lines that are shown."),
    ] = "info"
