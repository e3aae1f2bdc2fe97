"""Read homeserver.yaml, the environment and the command line into a `Config`.

What is set nearer wins: command line, then environment, then file, then default.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from homeserver.config.check import faults_of
from homeserver.config.decode import ConfigError, Decoder, Fault, Plain
from homeserver.config.environment import apply_environment
from homeserver.config.model import Config

DEFAULT_FILE: Final = Path("homeserver.yaml")
_Loader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line sets."""

    data_dir: Path | None = None
    bind: str | None = None  # HOST:PORT; replaces all listeners by one of plain HTTP
    server_name: str | None = None


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Overrides | None = None,
) -> Config:
    """Load the configuration. Without a path, `homeserver.yaml` in the working folder counts.

    Paths in the file are relative to the file; all others to the working folder. Without any
    file the defaults make a working local server. Raises ConfigError.
    """
    if path is None and DEFAULT_FILE.is_file():
        path = DEFAULT_FILE
    working_folder = Path.cwd()
    base = working_folder if path is None else path.absolute().parent
    plain = {} if path is None else _read(path)
    decoder = Decoder(base)
    apply_environment(plain, environ or {}, decoder.faults)
    _apply_overrides(plain, overrides or Overrides(), working_folder, decoder.faults)
    config = decoder.section(Config, plain)
    if config is None or decoder.faults:
        raise ConfigError(decoder.faults)
    config = _with_absolute_data_dir(config, base)
    if faults := faults_of(config):
        raise ConfigError(faults)
    return config


def _read(path: Path) -> dict[str, Plain]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Fault("", f"{path} cannot be read: {error}")]) from error
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        faults = _double_settings(node, "")
        plain = None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ConfigError([Fault("", f"{path} is not YAML: {error}")]) from error
    finally:
        loader.dispose()
    if faults:
        raise ConfigError(faults)
    if plain is None:
        return {}
    if not isinstance(plain, dict):
        raise ConfigError([Fault("", f"{path} must hold settings by name")])
    return plain


def _double_settings(node: Any, place: str) -> list[Fault]:
    """Find settings that are given twice: YAML would silently take the last."""
    faults: list[Fault] = []
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            inner = f"{place}.{key.value}" if place else str(key.value)
            if key.value in seen:
                line = key.start_mark.line + 1
                faults.append(Fault(inner, f"is set twice, the second time in line {line}"))
            seen.add(str(key.value))
            faults += _double_settings(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            faults += _double_settings(value, f"{place}[{index}]")
    return faults


def _apply_overrides(
    plain: dict[str, Plain], overrides: Overrides, base: Path, faults: list[Fault]
) -> None:
    server = plain.get("server") or {}
    if isinstance(server, dict):
        server = dict(server)
        if overrides.data_dir is not None:
            server["data_dir"] = str(base / overrides.data_dir)
        if overrides.server_name is not None:
            server["name"] = overrides.server_name
        plain["server"] = server
    if overrides.bind is None:
        return
    address, colon, port = overrides.bind.rpartition(":")
    if not colon or not port.isdecimal():
        faults.append(Fault("--bind", f"{overrides.bind!r} is not HOST:PORT"))
        return
    plain["listeners"] = [{"address": address.strip("[]") or "0.0.0.0", "port": int(port)}]  # noqa: S104 - ":8008" asks for it


def _with_absolute_data_dir(config: Config, base: Path) -> Config:
    server = msgspec.structs.replace(config.server, data_dir=base / config.server.data_dir)
    return msgspec.structs.replace(config, server=server)
