"""From plain YAML values to sections, with every fault in plain words."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from homeserver.config.values import IpRange, Secret, Section, refuse

S = TypeVar("S", bound=Section)
Plain: TypeAlias = Any  # what YAML gives: None, bool, int, float, str, list, dict

_PLAIN_NAMES: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a section of settings",
    "null": "nothing",
}
_EXPECTED: Final = re.compile(r"^Expected `([^`]+)`, got `([^`]+)`")
_LIMIT: Final = re.compile(r"^Expected `(\w+)` (>=|<=|>|<) ([\d.]+)")
_CHOICE: Final = re.compile(r"^Invalid enum value (.*)$")
_PLACE: Final = re.compile(r" - at `\$([^`]*)`$")


class Fault(msgspec.Struct, frozen=True):
    """Something wrong in the configuration: where, as `section.setting`, and what."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}" if self.place else self.reason


class ConfigError(Exception):
    """The configuration cannot be used; holds every fault that was found."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults: Final = tuple(faults)


class Decoder:
    """Decodes sections; collects faults instead of stopping at the first."""

    def __init__(self, base: Path) -> None:
        """Take paths relative to the folder `base`."""
        self._base = base
        self.faults: list[Fault] = []

    def section(self, type_: type[S], plain: Plain, place: str = "") -> S | None:
        """Decode a mapping; None after a fault."""
        if plain is None:
            plain = {}  # a section of which everything is commented out
        if not isinstance(plain, dict):
            self._fault(place, "expected a section of settings")
            return None
        fields = {field.encode_name: field for field in msgspec.structs.fields(type_)}
        before = len(self.faults)
        self._refuse_unknown(plain, list(fields), place)
        values = {}
        for name, value in plain.items():
            if name in fields:
                values[name] = self._value(annotation_of(type_, name), value, _join(place, name))
        for name, field in fields.items():
            if field.required and name not in plain:
                self._fault(_join(place, name), "is missing")
        if len(self.faults) > before:
            return None
        self._read_secret_files(values, place)
        return type_(**values) if len(self.faults) == before else None

    def _refuse_unknown(self, plain: Mapping[Any, Plain], known: list[str], place: str) -> None:
        for name in plain:
            if name in known:
                continue
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self._fault(_join(place, str(name)), f"is not a setting{hint}")

    def _value(self, annotation: Any, plain: Plain, place: str) -> Any:
        inner = _without_annotations(annotation)
        if isinstance(inner, type) and issubclass(inner, Section):
            return self.section(inner, plain, place)
        element = _element_section(inner)
        if element is not None and isinstance(plain, list):
            return tuple(
                self.section(element, each, f"{place}[{index}]") for index, each in enumerate(plain)
            )
        if inner == Mapping[str, str] and isinstance(plain, dict):
            plain = {str(key): _scalar_text(value) for key, value in plain.items()}
        try:
            return msgspec.convert(plain, annotation, dec_hook=self._decode_special)
        except msgspec.ValidationError as error:
            return self._refused(str(error), plain, place)

    def _decode_special(self, type_: type, plain: Plain) -> Any:
        if not isinstance(plain, str):
            refuse(type_, plain)
        if type_ is Path:
            return self._base / Path(plain).expanduser()
        if type_ in (Secret, IpRange):
            return type_(plain)
        raise NotImplementedError(type_)

    def _read_secret_files(self, values: dict[str, Any], place: str) -> None:
        """Fill `x` from the file that `x_file` names."""
        for name in [name for name in values if name.endswith("_file")]:
            path, secret = values[name], name.removesuffix("_file")
            if path is None:
                continue
            if values.get(secret) is not None:
                self._fault(_join(place, name), f"is set, and so is {secret}: choose one")
                continue
            try:
                values[secret] = Secret(path.read_text("utf-8").strip())
            except (OSError, ValueError) as error:
                self._fault(_join(place, name), f"{path} cannot be read: {_plainly(error)}")

    def _refused(self, message: str, plain: Plain, place: str) -> None:
        inside = _PLACE.search(message)
        if inside is not None:
            place += inside[1]
            message = message[: inside.start()]
        self._fault(place, _in_plain_words(message, plain))

    def _fault(self, place: str, reason: str) -> None:
        self.faults.append(Fault(place, reason))


def annotation_of(type_: type[Section], name: str) -> Any:
    """Return the annotation of a setting, descriptions included."""
    return get_type_hints(type_, include_extras=True)[name]


def _without_annotations(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _element_section(annotation: Any) -> type[Section] | None:
    """Return X of `tuple[X, ...]` if X is a section."""
    if get_origin(annotation) is not tuple:
        return None
    element = get_args(annotation)[0]
    return element if isinstance(element, type) and issubclass(element, Section) else None


def _scalar_text(value: Plain) -> Plain:
    """Write numbers and booleans as PostgreSQL and others read them."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if isinstance(value, int | float) else value


def _in_plain_words(message: str, plain: Plain) -> str:
    if match := _EXPECTED.match(message):
        wanted, got = match[1].split(" | "), match[2]
        reason = f"expected {_either(wanted)}, not {_PLAIN_NAMES.get(got, got)}"
        return f"{reason}; put it in quotes" if _wants_quotes(wanted, plain) else reason
    if match := _LIMIT.match(message):
        words = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
        return f"must be {words[match[2]]} {match[3]}"
    if match := _CHOICE.match(message):
        return f"{match[1]} is not one of the choices"
    return message[:1].lower() + message[1:]


def _either(wanted: list[str]) -> str:
    names = [_PLAIN_NAMES.get(name, name) for name in wanted if name != "null"]
    return " or ".join(names) or "nothing"


def _wants_quotes(wanted: list[str], plain: Plain) -> bool:
    return "str" in wanted and isinstance(plain, bool | int | float)


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _plainly(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
