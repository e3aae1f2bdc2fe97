"""How the declared endpoints compare with the specification's operations."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import msgspec

from homeserver.web.endpoint import Endpoint

_CONTRACT: Final = Path(__file__).resolve().parent.parent / "tests" / "contract"
OPERATIONS: Final = _CONTRACT / "spec_operations.tsv"
NOT_YET: Final = _CONTRACT / "not_yet.tsv"
DEVIATIONS: Final = _CONTRACT / "deviations.tsv"

# These APIs we call; application services and push gateways answer them.
CALLED_APIS: Final = ("application-service", "push-gateway")

# Anchors of operations, unlike those of chapters, begin with a method.
_OPERATION_ANCHOR: Final = re.compile(r"/#(?:get|put|post|delete)(?:_|well-known)")
_Row = TypeVar("_Row", bound=msgspec.Struct)
# API and operation ID.
Key: TypeAlias = tuple[str, str]


class SpecOperation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation as the specification has it; `area` is the file that describes it."""

    api: str
    operation_id: str
    area: str
    method: str
    path: str
    auth: str
    is_rate_limited: bool
    is_deprecated: bool

    @property
    def key(self) -> Key:
        """What identifies the operation."""
        return self.api, self.operation_id

    @property
    def place(self) -> tuple[str, str]:
        """Method and path, whatever the braces are called."""
        return self.method, without_names(self.path)

    @property
    def anchor(self) -> str:
        """Where the published specification describes the operation."""
        title = re.sub(r"[^\w-]", "", f"{self.method}{self.path}".lower())
        return f"{self.api}-api/#{title}"


class NotYet(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that is missing, and why."""

    api: str
    operation_id: str
    reason: str


class Deviation(msgspec.Struct, frozen=True, kw_only=True):
    """A fact (`auth`, `deprecated`, `rate_limit`) that differs on purpose, and why."""

    api: str
    operation_id: str
    fact: str
    ours: str
    reason: str


class Status(msgspec.Struct, frozen=True):
    """The operations, and what stands where."""

    operations: Sequence[SpecOperation]
    endpoints: Sequence[Endpoint]
    not_yet: Sequence[NotYet]
    deviations: Sequence[Deviation]

    @property
    def served(self) -> dict[Key, Endpoint]:
        """The endpoints of the operations that are declared."""
        by_place = {
            (each.method, without_names(path)): each
            for each in self.endpoints
            for path in each.path.all
        }
        return {
            operation.key: by_place[operation.place]
            for operation in self.ours()
            if operation.place in by_place
        }

    def ours(self) -> list[SpecOperation]:
        """Return the operations that a homeserver answers."""
        return [each for each in self.operations if each.api not in CALLED_APIS]


def without_names(path: str) -> str:
    """Return a path template with its braces emptied."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def load_status(endpoints: Sequence[Endpoint]) -> Status:
    """Read the tables beside the contract tests."""
    return Status(
        _read(OPERATIONS, SpecOperation),
        endpoints,
        _read(NOT_YET, NotYet),
        _read(DEVIATIONS, Deviation),
    )


def find_faults(status: Status) -> list[str]:
    """Return, in words, where endpoints, table and exceptions contradict each other."""
    served = status.served
    not_yet = {(each.api, each.operation_id) for each in status.not_yet}
    known = {each.key for each in status.ours()}
    faults = [f"{_name(key)} is in not_yet.tsv but no operation" for key in not_yet - known]
    accepted = {(each.api, each.operation_id, each.fact): each for each in status.deviations}
    for operation in status.ours():
        endpoint = served.get(operation.key)
        if endpoint is None:
            if operation.key not in not_yet:
                faults.append(f"{_name(operation.key)} is neither declared nor in not_yet.tsv")
            continue
        if operation.key in not_yet:
            faults.append(f"{_name(operation.key)} is declared: take it out of not_yet.tsv")
        faults += _differences(operation, endpoint, accepted)
    faults += [f"{_name(key[:2])} deviates in nothing: {key[2]}" for key in accepted]
    return sorted(faults + _unknown_anchors(status))


def _unknown_anchors(status: Status) -> list[str]:
    anchors = {each.anchor for each in status.operations}
    return [
        f"{each.operation}: the specification has no {each.spec}"
        for each in status.endpoints
        if _OPERATION_ANCHOR.search(each.spec) and each.spec not in anchors
    ]


def _differences(
    operation: SpecOperation, endpoint: Endpoint, accepted: dict[tuple[str, str, str], Deviation]
) -> list[str]:
    """Compare the facts; takes the deviations that are used out of the accepted ones."""
    faults = []
    if endpoint.spec != operation.anchor:
        faults.append(f"{_name(operation.key)}: the anchor is {operation.anchor}")
    for fact, ours, theirs in _facts(operation, endpoint):
        if ours == theirs:
            continue
        deviation = accepted.pop((*operation.key, fact), None)
        if deviation is None or deviation.ours != ours:
            faults.append(f"{_name(operation.key)}: {fact} is {ours}, specified is {theirs}")
    return faults


def _facts(operation: SpecOperation, endpoint: Endpoint) -> list[tuple[str, str, str]]:
    facts = [
        ("auth", endpoint.auth.value, operation.auth),
        ("deprecated", _text(endpoint.deprecated), _text(operation.is_deprecated)),
    ]
    # What the specification does not limit may be limited; the other way round it may not.
    if operation.is_rate_limited:
        limited = "no" if endpoint.rate_limit is None else "yes"
        facts.append(("rate_limit", limited, "yes"))
    return facts


def _name(key: Sequence[str]) -> str:
    return f"{key[0]} {key[1]}"


def _read(table: Path, row: type[_Row]) -> list[_Row]:
    with table.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    return msgspec.convert(rows, list[row], strict=False)  # type: ignore[valid-type]


def write_operations(table: Path, operations: Iterable[SpecOperation]) -> None:
    """Write the table of operations in a stable order."""
    ordered = sorted(operations, key=lambda each: each.key)
    _write(table, SpecOperation, ordered)


def write_not_yet(rows: Iterable[NotYet]) -> None:
    """Write the table of missing operations in a stable order."""
    ordered = sorted(rows, key=lambda each: (each.api, each.operation_id))
    _write(NOT_YET, NotYet, ordered)


def _write(table: Path, kind: type[msgspec.Struct], rows: Iterable[msgspec.Struct]) -> None:
    lines = ["\t".join(kind.__struct_fields__)]
    for row in rows:
        values = (getattr(row, name) for name in kind.__struct_fields__)
        lines.append("\t".join(_text(value) for value in values))
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def status_page(status: Status) -> str:
    """Return docs/spec-status.md."""
    served, not_yet = status.served, {(e.api, e.operation_id): e.reason for e in status.not_yet}
    sections = [_HEAD]
    by_api: dict[str, list[SpecOperation]] = defaultdict(list)
    for operation in status.ours():
        by_api[operation.api].append(operation)
    for api, operations in by_api.items():
        done = sum(operation.key in served for operation in operations)
        sections.append(f"## {api}: {done} of {len(operations)} operations\n")
        sections.append(_table(operations, served, not_yet))
    sections.append(_deviations(status))
    sections.append(_called(status))
    return "\n".join(sections)


_HEAD: Final = """# Status against the specification, v1.19

Generated by `python -m tools.generate_docs`; do not edit. The operations come from
`tests/contract/spec_operations.tsv`, what is missing from `tests/contract/not_yet.tsv`,
deviations from `tests/contract/deviations.tsv`; a contract test holds them against the code.
"""


def _table(
    operations: Sequence[SpecOperation], served: dict[Key, Endpoint], not_yet: dict[Key, str]
) -> str:
    lines = ["| area | operation | | path | status |", "| --- | --- | --- | --- | --- |"]
    for each in sorted(operations, key=lambda each: (each.area, each.path, each.method)):
        state = "yes" if each.key in served else f"not yet: {not_yet.get(each.key, '?')}"
        link = f"[{each.operation_id}](https://spec.matrix.org/v1.19/{each.anchor})"
        lines.append(f"| {each.area} | {link} | {each.method} | `{each.path}` | {state} |")
    return "\n".join(lines) + "\n"


def _deviations(status: Status) -> str:
    lines = [
        f"- {each.operation_id}: {each.fact} is {each.ours}. {each.reason}"
        for each in status.deviations
    ]
    return "\n".join(["## Deviations\n", *(lines or ["None."])]) + "\n"


def _called(status: Status) -> str:
    called = [each for each in status.operations if each.api in CALLED_APIS]
    lines = ["## Operations that a homeserver calls\n"]
    lines += [f"- {each.api}: {each.method} `{each.path}`" for each in called]
    return "\n".join(lines) + "\n"
