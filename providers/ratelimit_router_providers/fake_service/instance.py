"""The smallest value that a schema allows: JSON Schema, and Gemini's own dialect with upper-case types."""

from collections.abc import Mapping
from typing import Any

__all__ = ["instance_of"]

_DEEPEST = 20


def instance_of(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None, depth: int = 0) -> Any:
    """A minimal valid instance; recursion that the schema does not end is ended with null."""
    root = schema if root is None else root
    if depth > _DEEPEST:
        return None
    for known in ("const", "default"):
        if known in schema:
            return schema[known]
    if schema.get("enum"):
        return schema["enum"][0]
    if isinstance(ref := schema.get("$ref"), str):
        return instance_of(_resolve(root, ref), root, depth + 1)
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            return instance_of(schema[choice][0], root, depth + 1)
    return _of_type(schema, root, depth)


def _of_type(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "null")
    kind = kind[0] if isinstance(kind, list) else kind
    match str(kind).lower():
        case "object":
            properties = schema.get("properties", {})
            needed = schema.get("required", tuple(properties))
            return {name: instance_of(properties.get(name, {}), root, depth + 1) for name in needed}
        case "array":
            least = int(schema.get("minItems", 0))
            return [instance_of(schema.get("items", {}), root, depth + 1) for _ in range(least)]
        case "string":
            return "simulated".ljust(int(schema.get("minLength", 0)), ".")[: int(schema.get("maxLength", 1_000))]
        case "integer":
            return int(schema.get("minimum", 0))
        case "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
        case _:
            return None


def _resolve(root: Mapping[str, Any], ref: str) -> Mapping[str, Any]:
    found: Any = root
    for part in filter(None, ref.removeprefix("#").split("/")):
        found = found.get(part, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}
