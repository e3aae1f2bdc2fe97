"""Settings from environment variables: `HOMESERVER_<SECTION>_<SETTING>`.

`HOMESERVER_DATABASE_DSN=postgresql://…` sets `database.dsn`. Lists and sections are written
as YAML in one line: `HOMESERVER_LISTENERS='[{port: 8448}]'`. Other variables that begin with
HOMESERVER_ are ignored: a Kubernetes service called homeserver makes some.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

import msgspec
import yaml

from homeserver.config.decode import Fault, Plain
from homeserver.config.model import Config
from homeserver.config.values import Secret, Section

PREFIX: Final = "HOMESERVER_"
_TEXT_TYPES: Final = frozenset((str, Path, Secret))


class Setting(msgspec.Struct, frozen=True):
    """A setting that can be set on its own."""

    path: tuple[str, ...]
    annotation: Any

    @property
    def variable(self) -> str:
        """The environment variable of the setting."""
        return PREFIX + "_".join(self.path).upper()

    @property
    def is_text(self) -> bool:
        """Whether the value is taken as it stands, not read as YAML."""
        inner = self.annotation
        if get_origin(inner) is Annotated:
            inner = get_args(inner)[0]
        return bool({inner, *get_args(inner)} & _TEXT_TYPES) and get_origin(inner) is not tuple


def settings(section: type[Section] = Config, path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """List all settings, in the order of homeserver.yaml."""
    hints = get_type_hints(section, include_extras=True)
    for field in msgspec.structs.fields(section):
        annotation = hints[field.name]
        inner = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
        if isinstance(inner, type) and issubclass(inner, Section) and not is_short(inner):
            yield from settings(inner, (*path, field.name))
        else:
            yield Setting((*path, field.name), annotation)


def is_short(section: type[Section]) -> bool:
    """Whether a section has no defaults and so is one setting: {per_second: 5, burst: 10}."""
    return all(field.required for field in msgspec.structs.fields(section))


def apply_environment(
    plain: dict[str, Plain], environ: Mapping[str, str], faults: list[Fault]
) -> None:
    """Put what the environment sets over what the file sets."""
    for setting in settings():
        text = environ.get(setting.variable)
        if text is None:
            continue
        try:
            value = text if setting.is_text else yaml.safe_load(text)
        except yaml.YAMLError:
            faults.append(Fault(setting.variable, "is not YAML in one line"))
            continue
        _put(plain, setting.path, value)


def _put(plain: dict[str, Plain], path: tuple[str, ...], value: Plain) -> None:
    *sections, name = path
    for section in sections:
        inner = plain.get(section)
        # A section that is no mapping is a fault of the file, which the decoder reports.
        if inner is not None and not isinstance(inner, dict):
            return
        plain[section] = plain = dict(inner or {})
    plain[name] = value
    # The variable also wins over the other way to give the same secret.
    other = name.removesuffix("_file") if name.endswith("_file") else f"{name}_file"
    plain.pop(other, None)
