"""The one place where decoded JSON is typed as `Any`."""

from typing import Any, TypeAlias

# A decoded JSON object. Readers narrow with isinstance before they use a member.
JsonObject: TypeAlias = dict[str, Any]
JsonValue: TypeAlias = Any
