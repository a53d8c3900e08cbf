"""From a JSON schema to the Schema of Gemini's old API, which knows a part of it.

Kept: type, properties, required, items, enum, description, format, minItems, maxItems, a nullable type, and local
`$ref`s. Keywords that only narrow (minLength, pattern, additionalProperties, ...) are left out: the caller validates
the answer anyway. Alternatives (`anyOf`, several types) cannot be expressed and are refused.
"""

from collections.abc import Mapping
from typing import Any

from ratelimit_router.errors import BadRequest

__all__ = ["legacy_schema"]

_TYPES = ("string", "number", "integer", "boolean", "array", "object")
_FORMATS = {"string": ("enum", "date-time"), "number": ("float", "double"), "integer": ("int32", "int64")}
_DEEPEST = 40


def legacy_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the old Schema message. Raises BadRequest for what it cannot express, with the keyword."""
    return _convert(schema, schema, 0)


def _convert(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if depth > _DEEPEST:
        raise BadRequest("gemini-legacy cannot express a schema that contains itself")
    schema, nullable = _resolved(schema, root)
    kind, may_be_null = _type(schema)
    made: dict[str, Any] = {"type_": kind.upper()}
    if nullable or may_be_null:
        made["nullable"] = True
    if isinstance(description := schema.get("description"), str):
        made["description"] = description
    if (form := schema.get("format")) in _FORMATS.get(kind, ()):
        made["format_"] = form
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        made |= {"enum": [str(value) for value in values if value is not None], "format_": "enum"}
        made["type_"] = "STRING"
    if kind == "array":
        made["items"] = _convert(schema.get("items") or {"type": "string"}, root, depth + 1)
        made |= {ours: schema[theirs] for theirs, ours in _BOUNDS.items() if isinstance(schema.get(theirs), int)}
    if kind == "object":
        properties = schema.get("properties") or {}
        made["properties"] = {name: _convert(one, root, depth + 1) for name, one in properties.items()}
        made["required"] = [name for name in schema.get("required") or () if name in properties]
    return made


_BOUNDS = {"minItems": "min_items", "maxItems": "max_items"}


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """The schema that a `$ref`, or an alternative to null, stands for; and whether null is allowed beside it."""
    nullable = False
    for _ in range(_DEEPEST):
        if isinstance(reference := schema.get("$ref"), str):
            schema = _referred(reference, root)
            continue
        options = schema.get("anyOf") or schema.get("oneOf")
        if not options:
            break
        real = [one for one in options if one.get("type") != "null"]
        if len(real) != 1:
            raise BadRequest("gemini-legacy cannot express the schema keyword anyOf")
        nullable |= len(real) < len(options)
        schema = real[0]
    return schema, nullable


def _referred(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = root
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        raise BadRequest("gemini-legacy cannot follow a $ref of the schema")
    return found


def _type(schema: Mapping[str, Any]) -> tuple[str, bool]:
    named = schema.get("type")
    kinds = [named] if isinstance(named, str) else list(named or ())
    real = [kind for kind in kinds if kind != "null"]
    if not real:
        real = ["object"] if "properties" in schema else ["array"] if "items" in schema else ["string"]
    if len(real) != 1 or real[0] not in _TYPES:
        raise BadRequest("gemini-legacy cannot express a schema with several types, or an unknown one")
    return real[0], "null" in kinds
