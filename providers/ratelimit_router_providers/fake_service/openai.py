"""OpenAI's chat completions: a request's JSON as values, an answer's values as JSON. One choice each.

Read are the texts of the messages, `response_format`, `stream`, and the cap on the answer; the rest is taken and
ignored. Every answer names its simulation: `model` ends in `-simulated`.
"""

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ratelimit_router_providers.fake_service.config import FakeModel
from ratelimit_router_providers.fake_service.exchange import Ask, Draft, MalformedRequestError, count

__all__ = ["DONE", "answer", "blocked", "chunks", "model_of", "parse", "streams"]

DONE = "[DONE]"
"""The last event of a stream."""

CHUNKS = 4
_FINISH = {"STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter"}


def model_of(body: object) -> str:
    """The model that a request asks for; an empty text if it names none."""
    model = body.get("model") if isinstance(body, Mapping) else None
    return model if isinstance(model, str) else ""


def streams(body: object) -> bool:
    """Whether a request wants its answer in pieces."""
    return isinstance(body, Mapping) and body.get("stream") is True


def parse(body: object) -> Ask:
    """The request in a body of /v1/chat/completions. Raises MalformedRequestError."""
    if not isinstance(body, Mapping):
        raise MalformedRequestError("We could not parse the JSON body of your request.")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise MalformedRequestError("Missing required parameter: 'messages'.")
    prompt = "\n".join(_texts(messages))
    kind, schema = _format(body.get("response_format"))
    cap = body.get("max_completion_tokens") or body.get("max_tokens")
    return Ask(
        prompt=prompt,
        input_tokens=count(prompt),
        json=kind in ("json_object", "json_schema"),
        schema=schema,
        max_output_tokens=cap if isinstance(cap, int) and cap > 0 else None,
        usage=_wants_usage(body.get("stream_options")),
    )


def answer(model: FakeModel, draft: Draft, response_id: str) -> dict[str, Any]:
    """The whole answer."""
    message = {"role": "assistant", "content": draft.text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _FINISH[draft.finish]}
    return {**_head(model, response_id, "chat.completion"), "choices": [choice], "usage": _usage(draft)}


def chunks(model: FakeModel, draft: Draft, response_id: str) -> Iterator[dict[str, Any]]:
    """The answer in pieces; the usage in one of its own at the end, if `stream_options` have asked for it."""
    head = _head(model, response_id, "chat.completion.chunk")
    size = max(1, math.ceil(len(draft.text) / CHUNKS))
    for at in range(0, len(draft.text), size):
        delta = {"role": "assistant", "content": draft.text[at : at + size]}
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": _FINISH[draft.finish]}]}
    if draft.usage:
        yield {**head, "choices": [], "usage": _usage(draft)}


def blocked(model: FakeModel, ask: Ask, response_id: str) -> dict[str, Any]:
    """An empty answer that the content filter ended."""
    nothing = Draft(text="", input_tokens=ask.input_tokens, output_tokens=0, finish="SAFETY")
    return answer(model, nothing, response_id)


def _head(model: FakeModel, response_id: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{response_id}",
        "object": kind,
        "created": int(time.time()),
        "model": f"{model.id}-simulated",
    }


def _usage(draft: Draft) -> dict[str, Any]:
    return {
        "prompt_tokens": draft.input_tokens,
        "completion_tokens": draft.output_tokens,
        "total_tokens": draft.input_tokens + draft.output_tokens,
    }


def _wants_usage(options: object) -> bool:
    return isinstance(options, Mapping) and options.get("include_usage") is True


def _format(wanted: object) -> tuple[str, Mapping[str, Any] | None]:
    """The type of `response_format`, and its schema if it has one."""
    if not isinstance(wanted, Mapping):
        return "text", None
    outer = wanted.get("json_schema")
    schema = outer.get("schema") if isinstance(outer, Mapping) else None
    return str(wanted.get("type")), schema if isinstance(schema, Mapping) else None


def _texts(messages: list[Any]) -> Iterator[str]:
    for message in messages:
        content = message.get("content") if isinstance(message, Mapping) else None
        parts = [{"text": content}] if isinstance(content, str) else content
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, Mapping) and isinstance(part.get("text"), str):
                yield part["text"]
