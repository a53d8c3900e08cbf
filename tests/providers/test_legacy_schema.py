"""JSON schemas in the terms of Gemini's old API."""

from typing import Any

import pytest

from ratelimit_router.errors import BadRequest
from ratelimit_router_providers.legacy_clients import load_sdk
from ratelimit_router_providers.legacy_schema import legacy_schema

ENTITIES: dict[str, Any] = {
    "$defs": {"kind": {"enum": ["person", "place"]}},
    "type": "object",
    "properties": {
        "entities": {
            "type": "array",
            "maxItems": 50,
            "items": {
                "type": "object",
                "properties": {
                    "text": {"type": "string", "minLength": 1, "description": "as it stands in the article"},
                    "type": {"$ref": "#/$defs/kind"},
                    "score": {"type": ["number", "null"], "format": "float"},
                    "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
                "required": ["text", "type"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["entities"],
}


def test_what_the_old_schema_knows_is_kept() -> None:
    """Types, nesting, references, enums, bounds, null and required fields arrive; narrowing keywords do not."""
    item = {
        "type_": "OBJECT",
        "properties": {
            "text": {"type_": "STRING", "description": "as it stands in the article"},
            "type": {"type_": "STRING", "format_": "enum", "enum": ["person", "place"]},
            "score": {"type_": "NUMBER", "nullable": True, "format_": "float"},
            "note": {"type_": "STRING", "nullable": True},
        },
        "required": ["text", "type"],
    }
    entities = {"type_": "ARRAY", "items": item, "max_items": 50}
    assert legacy_schema(ENTITIES) == {
        "type_": "OBJECT",
        "properties": {"entities": entities},
        "required": ["entities"],
    }


def test_the_sdk_takes_the_result() -> None:
    """The fields are those of the SDK's own message."""
    made = load_sdk().protos.Schema(legacy_schema(ENTITIES))
    assert made.properties["entities"].items.properties["type"].enum == ["person", "place"]


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{"type": "string"}, {"type": "number"}]},
        {"type": ["string", "number"]},
        {"type": "wondrous"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#"},
        {"type": "array", "items": {"$ref": "#/$defs/again"}, "$defs": {"again": {"items": {"$ref": "#/$defs/again"}}}},
    ],
    ids=str,
)
def test_what_it_cannot_express_is_refused(schema: dict[str, Any]) -> None:
    """Alternatives, unknown types, missing and endless references are the caller's to change."""
    with pytest.raises(BadRequest, match="gemini-legacy cannot"):
        legacy_schema(schema)
