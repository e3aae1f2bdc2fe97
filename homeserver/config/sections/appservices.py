"""Section `appservices`."""

from pathlib import Path
from typing import Annotated

from homeserver.config.values import Section, later


class AppservicesSection(Section, frozen=True, kw_only=True):
    """Application services (bridges, bots)."""

    registration_files: Annotated[
        tuple[Path, ...],
        later("application services", "The registration file of each, in YAML."),
    ] = ()
