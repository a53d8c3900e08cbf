"""What an exception means that came out of one of Google's SDKs, or of the HTTP clients below them.

Both SDKs' exceptions are recognised by name and read by attribute, so neither has to be installed to classify.
"""

import importlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import TracebackType

from ratelimit_router.errors import RouterError
from ratelimit_router.outcomes import Kind, Outcome, outcome_of
from ratelimit_router_providers.foreign_errors import kind_by_name
from ratelimit_router_providers.google_errors import outcome_of_body
from ratelimit_router_providers.http_error import HttpError

__all__ = ["call_outcome", "outcome"]

_DEEPEST = 8
_LOST_STREAM_ERROR = "Unknown error trying to retrieve streaming response"


def outcome(error: BaseException) -> Outcome:
    """The outcome of any exception; UNKNOWN for one that is not the service's, the SDK's or the network's doing."""
    for _ in range(_DEEPEST):
        inner = _wrapped(error)
        if inner is None:
            break
        error = inner
    if isinstance(error, RouterError):
        return outcome_of(error)
    found = _answered(error)
    if found is not None:
        return found
    kind = kind_by_name(error) or _kind_of_plain(error)
    return outcome_of(error) if kind is None else Outcome(kind=kind, detail=type(error).__name__)


def call_outcome(error: Exception, *, value_error: Kind = Kind.BAD_RESPONSE) -> Outcome:
    """The outcome of an exception that left an SDK's call: what is not recognised is an answer the SDK choked on.

    `value_error`: what a bare ValueError is instead, for an SDK that refuses so what it is given.
    """
    found = outcome(error)
    if found.kind is not Kind.UNKNOWN:
        return found
    return replace(found, kind=value_error if type(error) is ValueError else Kind.BAD_RESPONSE)


def _wrapped(error: BaseException) -> BaseException | None:
    """What google-genai's and api_core's wrappers wrap: the failure that ended their own retries."""
    if _is(error, "google.genai", "ContinuationInterruptedError"):
        return error.__cause__
    if _is(error, "google.api_core", "RetryError"):
        cause = getattr(error, "cause", None)
        return cause if isinstance(cause, BaseException) else TimeoutError()
    return None


def _answered(error: BaseException) -> Outcome | None:
    """The outcome of an error answer, in whichever exception it comes."""
    if isinstance(error, HttpError):
        return error.outcome
    if _is(error, "google.genai", "APIError"):
        headers = getattr(getattr(error, "response", None), "headers", None)
        hint = headers.get("retry-after") if isinstance(headers, Mapping) else None
        return outcome_of_body(_status(error), getattr(error, "details", None), header_hint=hint)
    if _is(error, "google.api_core", "GoogleAPICallError"):
        if str(getattr(error, "message", "")).startswith(_LOST_STREAM_ERROR):
            return _lost_stream_error(error)
        return outcome_of_body(_status(error), _body(error))
    return None


def _is(error: BaseException, package: str, name: str) -> bool:
    return any(cls.__name__ == name and cls.__module__.startswith(package) for cls in type(error).__mro__)


def _status(error: BaseException) -> int | None:
    code = getattr(error, "code", None)
    return int(code) if isinstance(code, int) else None


def _body(error: BaseException) -> object:
    status = getattr(getattr(error, "grpc_status_code", None), "name", None)
    details = getattr(error, "details", ())
    return {
        "error": {
            "status": status,
            "message": getattr(error, "message", None),
            "details": [_as_json(one) for one in details] if isinstance(details, Iterable) else [],
        }
    }


def _as_json(detail: object) -> object:
    """A detail over REST is JSON already, over gRPC a protobuf message."""
    if not hasattr(detail, "DESCRIPTOR"):
        return detail
    read: object = importlib.import_module("google.protobuf.json_format").MessageToDict(detail)
    return read


def _lost_stream_error(error: BaseException) -> Outcome:
    """google-generativeai calls every streamed error answer a 400: api_core fails on its array and drops the body.

    The array is still in the frames of that failure. Without it, what is known is that the service answered with an
    error to a well-formed request: a 429, as a rule.
    """
    context = error.__context__
    if not isinstance(context, AttributeError):
        return Outcome(kind=Kind.BAD_RESPONSE, detail=type(error).__name__)
    for frame_locals in _frames(context.__traceback__):
        if isinstance(payload := frame_locals.get("payload"), list):
            return outcome_of_body(None, payload)
    return Outcome(kind=Kind.RATE_LIMITED, detail=type(error).__name__)


def _frames(trace: TracebackType | None) -> Iterable[Mapping[str, object]]:
    while trace is not None:
        yield trace.tb_frame.f_locals
        trace = trace.tb_next


def _kind_of_plain(error: BaseException) -> Kind | None:
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | ConnectionResetError | BrokenPipeError):
        return Kind.BAD_RESPONSE
    return None
