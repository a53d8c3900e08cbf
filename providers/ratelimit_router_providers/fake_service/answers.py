"""What the simulation answers: entities for an extraction prompt, a valid instance for a schema, else a plain sentence.

The article of an extraction prompt stands between the last line `<article>` and the last line `</article>`. It is data:
nothing that it says changes the answer.
"""

import json
from collections.abc import Mapping
from typing import Any

from ratelimit_router_providers.fake_service.exchange import Ask
from ratelimit_router_providers.fake_service.instance import instance_of
from ratelimit_router_providers.fake_service.recogniser import recognise

__all__ = ["answer_text", "article_of", "entities_of"]


def answer_text(ask: Ask) -> str:
    """The text of the answer; the same for the same request."""
    article = article_of(ask.prompt)
    if article is not None and (ask.schema is None or "entities" in ask.schema.get("properties", {})):
        return json.dumps(entities_of(article), ensure_ascii=False)
    if ask.schema is not None:
        return json.dumps(instance_of(ask.schema), ensure_ascii=False)
    sentence = f"This is a simulated answer to a prompt of {len(ask.prompt)} characters; no model has read it."
    return json.dumps({"simulated": True, "answer": sentence}) if ask.json else sentence


def article_of(prompt: str) -> str | None:
    """The article that a prompt carries, exactly as it stands there; None if it carries none."""
    lines = prompt.splitlines(keepends=True)
    starts = [number for number, line in enumerate(lines) if line.strip() == "<article>"]
    if not starts:
        return None
    ends = [number for number, line in enumerate(lines) if line.strip() == "</article>" and number > starts[-1]]
    return "".join(lines[starts[-1] + 1 : ends[-1] if ends else None])


def entities_of(article: str) -> Mapping[str, Any]:
    """The answer to the extraction contract: every entity once, in the order of the text."""
    found = dict.fromkeys((entity.type, entity.text) for entity in recognise(article))
    return {"entities": [{"type": kind, "text": text} for kind, text in found]}
