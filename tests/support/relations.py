"""Contents of events that relate to others."""

from typing import Any


def relating(rel_type: str, event_id: str, **more: Any) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": rel_type, "event_id": event_id, **more}}


def edit(event_id: str, text: str) -> dict[str, Any]:
    new = {"msgtype": "m.text", "body": text}
    return {**new, "body": f"* {text}", "m.new_content": new, **relating("m.replace", event_id)}


def in_thread(root_id: str, text: str) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": text, **relating("m.thread", root_id)}


def reaction(event_id: str, key: str) -> dict[str, Any]:
    return relating("m.annotation", event_id, key=key)


def reference(event_id: str, text: str = "see there") -> dict[str, Any]:
    return {"msgtype": "m.text", "body": text, **relating("m.reference", event_id)}


def bundle_of(event: Any) -> dict[str, Any]:
    """Return what the server says of the children of an event."""
    bundle: dict[str, Any] = event["unsigned"].get("m.relations", {})
    return bundle
