"""From an answer to entities: validate it, then find each entity in the article itself.

An entity counts only where the article has it verbatim, so every offset can be checked: `text[offset:offset +
len(entity)] == entity`. What a model made up is dropped and counted.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jsonschema

from ratelimit_router_extraction.articles import Article
from ratelimit_router_extraction.prompt import SCHEMA

__all__ = ["Entity", "Extraction", "InvalidAnswerError", "extract"]

_VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
_FENCE = re.compile(r"\A\s*```(?:json)?\s*(.*?)\s*```\s*\Z", re.DOTALL)


class InvalidAnswerError(ValueError):
    """The answer is not the JSON that was asked for. The message holds nothing of the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """One entity: how often it occurs and where first, in Unicode code points of the article's `field`."""

    type: str
    text: str
    count: int
    offset: int
    field: Literal["text", "title"] = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What an answer gave: entities in the order of the article, and how many named things are not in it."""

    entities: tuple[Entity, ...] = field(repr=False)
    unfound: int = 0


def extract(answer: str, article: Article) -> Extraction:
    """The entities of an answer, found in the article. Raises InvalidAnswerError if it does not follow the schema.

    An entity that stands only in the title is marked so, and its offset is one of the title.
    """
    named = dict.fromkeys((item["type"], item["text"].strip()) for item in _parsed(answer))
    found = [_locate(kind, text, article) for kind, text in named if text]
    entities = [entity for entity in found if entity is not None]
    entities.sort(key=lambda entity: (entity.field == "text", entity.offset, -len(entity.text)))
    return Extraction(entities=tuple(entities), unfound=len(named) - len(entities))


def _parsed(answer: str) -> Sequence[dict[str, Any]]:
    fenced = _FENCE.match(answer)
    try:
        value = json.loads(fenced[1] if fenced else answer)
    except (ValueError, RecursionError):
        raise InvalidAnswerError("the answer is not JSON") from None
    if (error := next(_VALIDATOR.iter_errors(value), None)) is not None:
        place = "/".join(map(str, error.absolute_path)) or "the whole"
        raise InvalidAnswerError(f"the answer breaks the schema's rule {error.validator!r} at {place}")
    found: Sequence[dict[str, Any]] = value["entities"]
    return found


def _locate(kind: str, text: str, article: Article) -> Entity | None:
    for name, content in (("text", article.text), ("title", article.title)):
        if (where := _occurrences(text, content)) is not None:
            count, offset = where
            return Entity(type=kind, text=text, count=count, offset=offset, field="text" if name == "text" else "title")
    return None


def _occurrences(entity: str, content: str) -> tuple[int, int] | None:
    """How often and where first: as a word of its own if it ever is one ("Oman", not "woman"), else anywhere."""
    if (offset := content.find(entity)) < 0:
        return None
    before = r"(?<!\w)" if re.match(r"\w", entity) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", entity) else ""
    words = [match.start() for match in re.finditer(before + re.escape(entity) + after, content)]
    return (len(words), words[0]) if words else (content.count(entity), offset)
