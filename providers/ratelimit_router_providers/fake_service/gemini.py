"""Gemini's wire format: a request's JSON as values, an answer's values as JSON.

Only what the SDKs send and read for text: roles, parts, system instruction, generation config. Every answer names its
simulation: `modelVersion` ends in `-simulated`.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ratelimit_router_providers.fake_service.config import FakeModel
from ratelimit_router_providers.fake_service.exchange import Ask, Draft, MalformedRequestError, count

__all__ = ["answer", "blocked", "chunks", "describe", "parse"]

CHUNKS = 4


def parse(body: object) -> Ask:
    """The request in a body of generateContent (or of countTokens). Raises MalformedRequestError."""
    if not isinstance(body, dict):
        raise MalformedRequestError("the body must be a JSON object")
    if isinstance(inner := body.get("generateContentRequest"), dict):
        body = inner
    contents = body.get("contents")
    if not isinstance(contents, list) or not contents:
        raise MalformedRequestError("* GenerateContentRequest.contents: contents is not specified")
    system = body.get("systemInstruction") or body.get("system_instruction") or {}
    prompt = "\n".join(_texts(contents))
    config = body.get("generationConfig") or body.get("generation_config") or {}
    schema = _first(config, "responseJsonSchema", "response_json_schema", "responseSchema", "response_schema")
    kind = _first(config, "responseMimeType", "response_mime_type")
    cap = _first(config, "maxOutputTokens", "max_output_tokens")
    return Ask(
        prompt=prompt,
        input_tokens=count(prompt) + count("\n".join(_texts([system]))),
        json=kind == "application/json",
        schema=schema if isinstance(schema, dict) else None,
        max_output_tokens=cap if isinstance(cap, int) and cap > 0 else None,
    )


def answer(model: FakeModel, draft: Draft, response_id: str) -> dict[str, Any]:
    """The whole answer of generateContent."""
    return _response(model, draft.text, draft, response_id, finish=draft.finish)


def chunks(model: FakeModel, draft: Draft, response_id: str) -> Iterator[dict[str, Any]]:
    """The answer in pieces; only the last has a finish reason and the whole usage."""
    size = max(1, math.ceil(len(draft.text) / CHUNKS))
    pieces = [draft.text[at : at + size] for at in range(0, len(draft.text), size)] or [""]
    for piece in pieces[:-1]:
        yield _response(model, piece, draft, response_id, finish=None)
    yield _response(model, pieces[-1], draft, response_id, finish=draft.finish)


def blocked(model: FakeModel, ask: Ask, response_id: str) -> dict[str, Any]:
    """No candidates: the prompt was blocked."""
    return {
        "promptFeedback": {"blockReason": "SAFETY"},
        "usageMetadata": {"promptTokenCount": ask.input_tokens, "totalTokenCount": ask.input_tokens},
        "modelVersion": f"{model.id}-simulated",
        "responseId": response_id,
    }


def describe(model: FakeModel) -> dict[str, Any]:
    """An entry of the list of models."""
    return {
        "name": f"models/{model.id}",
        "version": "simulated",
        "displayName": f"{model.id} (simulated)",
        "description": "A simulation on this machine: no model answers here.",
        "inputTokenLimit": model.input_token_limit,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }


def _response(model: FakeModel, text: str, draft: Draft, response_id: str, *, finish: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    usage: dict[str, Any] = {"promptTokenCount": draft.input_tokens, "totalTokenCount": draft.input_tokens}
    if finish is not None:
        candidate["finishReason"] = finish
        usage["candidatesTokenCount"] = draft.output_tokens
        usage["totalTokenCount"] += draft.output_tokens
    usage["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": draft.input_tokens}]
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": f"{model.id}-simulated",
        "responseId": response_id,
    }


def _texts(contents: list[Any]) -> Iterator[str]:
    for content in contents:
        parts = content.get("parts") if isinstance(content, dict) else None
        if isinstance(parts, dict):
            parts = [parts]
        for part in parts or ():
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                yield part["text"]


def _first(config: Mapping[str, Any], *names: str) -> Any:
    return next((config[name] for name in names if config.get(name) is not None), None)
