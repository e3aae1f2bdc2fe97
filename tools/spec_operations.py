"""Write the table of the specification's operations that the contract tests read.

    python -m tools.spec_operations FOLDER

FOLDER holds `endpoints.tsv` and the OpenAPI sources of the specification under `api/`.
Only facts are taken: method, path, authentication, rate limit, deprecation, operation ID.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml

from tools.spec_status import OPERATIONS, SpecOperation, write_operations

# What the security schemes of the sources mean here.
_AUTH: Final = {
    "none": "none",
    "accessTokenBearer": "access_token",
    "appserviceAccessTokenBearer": "appservice_token",
    "signedRequest": "server_signature",
    "homeserverAccessToken": "homeserver_token",
}
# Slips of the sources: the scheme of another API is named.
_SLIPS: Final = {
    ("client-server", "getRoomSummary"): "access_token",
    ("server-server", "getEventByTimestamp"): "server_signature",
}
# Servers of other kinds answer the identity API.
_LEFT_OUT: Final = ("identity",)


def main() -> None:
    """Write the table."""
    folder = Path(sys.argv[1])
    write_operations(OPERATIONS, list(_operations(folder)))


def _operations(folder: Path) -> Iterator[SpecOperation]:
    with (folder / "endpoints.tsv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            if row["api"] in _LEFT_OUT:
                continue
            slip = _SLIPS.get((row["api"], row["operationId"]))
            source = folder / "api" / row["api"] / row["file"]
            is_optional = _may_lack_token(source, row["operationId"])
            yield SpecOperation(
                api=row["api"],
                operation_id=row["operationId"],
                area=Path(row["file"]).stem,
                method=row["method"],
                # Two operations of one path are told apart by a space at the end.
                path=row["path"].strip(),
                auth=slip or ("optional" if is_optional else _AUTH[row["auth"]]),
                is_rate_limited=bool(row["ratelimit"]),
                is_deprecated=bool(row["deprecated"]),
            )


def _may_lack_token(source: Path, operation_id: str) -> bool:
    document = yaml.safe_load(source.read_text(encoding="utf-8"))
    for path in document["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict) and operation.get("operationId") == operation_id:
                schemes = operation.get("security", [])
                return {} in schemes and len(schemes) > 1
    return False


if __name__ == "__main__":
    main()
