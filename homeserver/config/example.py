"""Write a homeserver.yaml in which every setting is explained, from the sections themselves."""

import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_origin

import msgspec
import yaml

from homeserver.config.decode import annotation_of
from homeserver.config.environment import PREFIX, is_short
from homeserver.config.model import Config
from homeserver.config.values import IpRange, Section

_WIDTH: Final = 96
_HEADER: Final = """\
Configuration of the homeserver.
{what}

Names end in their unit (_ms, _bytes). Paths are relative to this file. Every setting can be
given in the environment instead: {prefix}<SECTION>_<SETTING>, for example
{prefix}DATABASE_DSN; what is no text is written there as YAML in one line. `null` means
absent. `homeserver check-config` explains mistakes."""


def example() -> str:
    """Return the documented example: every setting with its default."""
    what = "This file shows every setting with its default; none has to be set."
    return "\n".join([*_header(what), *_sections(Config(), set_by_us=None)])


def for_server(server_name: str) -> str:
    """Return a configuration to begin a real server with: what is at its default is a comment.

    Registration is closed, because a real server is sooner or later on the internet.
    """
    what = f"This file is for {server_name}. A setting behind a # is shown with its default."
    default = Config()
    config = msgspec.structs.replace(
        default,
        server=msgspec.structs.replace(default.server, name=server_name),
        registration=msgspec.structs.replace(default.registration, enabled=False),
    )
    set_by_us = {("server", "name"), ("registration", "enabled")}
    return "\n".join([*_header(what), *_sections(config, set_by_us)])


def description_of(section: type[Section], name: str) -> tuple[str, str | None]:
    """Return what a setting means, and the feature that it waits for, if any."""
    annotation = annotation_of(section, name)
    if get_origin(annotation) is Annotated:
        for meta in get_args(annotation)[1:]:
            if isinstance(meta, msgspec.Meta) and meta.description:
                return meta.description, (meta.extra or {}).get("feature")
    return "", None


def text_of(section: type[Section]) -> str:
    """Return what a section is for: its docstring, in one paragraph."""
    return " ".join((inspect.getdoc(section) or "").split())


def yaml_of(value: Any) -> str:
    """Write a value as YAML in one line."""
    dumped = yaml.safe_dump(
        plain_of(value), default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True
    )
    return dumped.removesuffix("...\n").strip()


def plain_of(value: Any) -> Any:
    """Turn a value back into what YAML knows."""
    if isinstance(value, Section):
        return {name: plain_of(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [plain_of(each) for each in value]
    if isinstance(value, Path | IpRange):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _header(what: str) -> Iterator[str]:
    for line in _HEADER.format(what=what, prefix=PREFIX).splitlines():
        yield f"# {line}".rstrip()


def _sections(config: Config, set_by_us: set[tuple[str, str]] | None) -> Iterator[str]:
    """Write all sections; with `set_by_us`, whatever is not in it becomes a comment."""
    for name in Config.__struct_fields__:
        value = getattr(config, name)
        description = description_of(Config, name)[0] or text_of(type(value))
        yield ""
        yield from _comment(description, "")
        if isinstance(value, Section):
            yield f"{name}:"
            yield from _settings(name, value, set_by_us)
        else:
            yield f"{name}:"
            yield from _items(value)
    yield ""


def _settings(
    section_name: str, section: Section, set_by_us: set[tuple[str, str]] | None
) -> Iterator[str]:
    for name in section.__struct_fields__:
        yield from _explained(section, name, "  ")
        block = list(_setting(name, getattr(section, name), "  "))
        is_active = set_by_us is None or (section_name, name) in set_by_us
        yield from (block if is_active else _commented(block))


def _setting(name: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Section) and not is_short(type(value)):
        yield f"{indent}{name}:"
        for inner in value.__struct_fields__:
            yield from _explained(value, inner, indent + "  ")
            yield from _setting(inner, getattr(value, inner), indent + "  ")
    elif isinstance(value, tuple) and len(yaml_of(value)) > _WIDTH - 20:
        yield f"{indent}{name}:"
        for each in value:
            yield f"{indent}  - {yaml_of(each)}"
    else:
        yield f"{indent}{name}: {yaml_of(value)}"


def _items(sections: tuple[Section, ...]) -> Iterator[str]:
    for section in sections:
        lead = "  - "
        for name in section.__struct_fields__:
            yield from _explained(section, name, "    ")
            yield f"{lead}{name}: {yaml_of(getattr(section, name))}"
            lead = "    "


def _explained(section: Section, name: str, indent: str) -> Iterator[str]:
    description, feature = description_of(type(section), name)
    value = getattr(section, name)
    if isinstance(value, Section):
        description = description or text_of(type(value))
    later = f" (Takes effect with {feature}.)" if feature else ""
    yield from _comment(description + later, indent)


def _comment(text: str, indent: str) -> list[str]:
    width = _WIDTH - len(indent)
    return [f"{indent}# {line}" for line in textwrap.wrap(text, width, break_on_hyphens=False)]


def _commented(lines: list[str]) -> Iterator[str]:
    """Turn settings of a section into comments; unlike prose they follow the # at once."""
    for line in lines:
        yield line if line.lstrip().startswith("#") else f"  #{line.removeprefix('  ')}"
