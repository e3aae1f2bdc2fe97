"""What the declared endpoints say of themselves: OpenAPI for programs, a table for people."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, get_args

import msgspec
from msgspec import structs

from homeserver.protocol.json_types import JsonObject
from homeserver.web.answers import Answer, Content, Download, Empty, JsonBytes, Page, Redirect
from homeserver.web.endpoint import Auth, BoundEndpoint, Endpoint, endpoint
from homeserver.web.params import Body, RawBody

_SPECIFICATION: Final = "https://spec.matrix.org/v1.19/"
_PROPOSALS: Final = "https://github.com/matrix-org/matrix-spec-proposals/pull/"
_UNTYPED: Final = (Answer, Content, Download, Empty, JsonBytes, Page, Redirect, RawBody)
_REF_TEMPLATE: Final = "#/components/schemas/{name}"


class ListingRoutes:
    """Tells programs what this server answers."""

    def __init__(self, endpoints: Sequence[BoundEndpoint]) -> None:
        """`endpoints` is read at the first request: these routes may be added to it first."""
        self._endpoints = endpoints
        self._document: JsonBytes | None = None

    @endpoint("GET", "/openapi.json", auth=Auth.NONE, rate_limit=None, spec="ours/#openapi")
    async def get_openapi(self) -> JsonBytes:
        """Describe every endpoint in OpenAPI 3.1."""
        if self._document is None:
            document = openapi([bound.endpoint for bound in self._endpoints])
            self._document = JsonBytes(msgspec.json.encode(document))
        return self._document


def openapi(endpoints: Sequence[Endpoint]) -> JsonObject:
    """Return an OpenAPI 3.1 document, older paths left out."""
    types = _schema_types(endpoints)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF_TEMPLATE)
    by_type = dict(zip(types, schemas, strict=True))
    paths: dict[str, JsonObject] = {}
    for each in sorted(endpoints, key=_order):
        paths.setdefault(each.path.canonical, {})[each.method.lower()] = _operation(each, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Matrix homeserver", "version": "1.19"},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "accessToken": {"type": "http", "scheme": "bearer"},
                "serverSignature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": f"{_SPECIFICATION}server-server-api/#request-authentication",
                },
            },
        },
    }


def endpoint_table(endpoints: Iterable[Endpoint]) -> str:
    """Return a Markdown table of the endpoints, in the order of their paths."""
    lines = [
        "| method | path | also | auth | rate limit | what | specification |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in sorted(endpoints, key=_order):
        also = "<br>".join(f"`{path}`" for path in each.path.older)
        group = each.rate_limit.value if each.rate_limit else ""
        lines.append(
            f"| {each.method} | `{each.path.canonical}` | {also} | {_auth(each)} | {group} "
            f"| {each.summary} | {_link(each.spec)} |"
        )
    return "\n".join(lines) + "\n"


def _order(each: Endpoint) -> tuple[str, str]:
    return each.path.canonical, each.method


def _schema_types(endpoints: Iterable[Endpoint]) -> list[Any]:
    types: dict[Any, None] = {}
    for each in endpoints:
        for part in (each.path_type, each.query_type):
            if part is not None:
                types.update((field.type, None) for field in structs.fields(part))
        if _is_typed(each.body_type):
            types[each.body_type] = None
        if _is_typed(each.answer_type):
            types[each.answer_type] = None
    return list(types)


def _is_typed(annotation: Any) -> bool:
    # A union with an untyped answer has a shape that only the specification tells.
    members = get_args(annotation) or (annotation,)
    return annotation is not None and not any(member in _UNTYPED for member in members)


def _operation(each: Endpoint, schemas: dict[Any, JsonObject]) -> JsonObject:
    operation: JsonObject = {
        "operationId": each.operation,
        "summary": each.summary,
        "externalDocs": {"url": _url(each.spec)},
        "parameters": _parameters(each, schemas),
        "responses": {"200": _response(each, schemas)},
    }
    security = _SECURITY[each.auth]
    if security:
        operation["security"] = security
    if each.deprecated:
        operation["deprecated"] = True
    if each.body_type is not None:
        schema = schemas.get(each.body_type, {"type": "object"})
        operation["requestBody"] = {
            "required": not _may_be_absent(each),
            "content": {"application/json": {"schema": schema}},
        }
    if "upload" in each.parameters:
        operation["requestBody"] = {"content": {"*/*": {}}}
    return operation


_SECURITY: Final[dict[Auth, list[JsonObject]]] = {
    Auth.NONE: [],
    Auth.OPTIONAL: [{}, {"accessToken": []}],
    Auth.ACCESS_TOKEN: [{"accessToken": []}],
    Auth.APPSERVICE_TOKEN: [{"accessToken": []}],
    Auth.SERVER_SIGNATURE: [{"serverSignature": []}],
}


def _may_be_absent(each: Endpoint) -> bool:
    body = each.body_type
    if body is None or not issubclass(body, Body):
        return False
    return not any(field.required for field in structs.fields(body))


def _parameters(each: Endpoint, schemas: dict[Any, JsonObject]) -> list[JsonObject]:
    places = (("path", each.path_type), ("query", each.query_type))
    return [
        {
            "name": field.encode_name,
            "in": place,
            "required": place == "path" or field.required,
            "schema": schemas[field.type],
        }
        for place, struct in places
        if struct is not None
        for field in structs.fields(struct)
    ]


def _response(each: Endpoint, schemas: dict[Any, JsonObject]) -> JsonObject:
    schema = schemas.get(each.answer_type, {})
    return {"description": "Success", "content": {"application/json": {"schema": schema}}}


def _auth(each: Endpoint) -> str:
    words = each.auth.value.replace("_", " ")
    if each.admin:
        return f"{words}, administrators"
    return f"{words}, guests too" if each.guests else words


def _url(spec: str) -> str:
    if spec.startswith("MSC"):
        return _PROPOSALS + spec.removeprefix("MSC")
    return spec if spec.startswith("ours/") else _SPECIFICATION + spec


def _link(spec: str) -> str:
    if spec.startswith("ours/"):
        return "our own"
    return f"[{spec if spec.startswith('MSC') else spec.split('/', 1)[0]}]({_url(spec)})"
