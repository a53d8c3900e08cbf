"""Exceptions of SDKs and HTTP clients to outcomes: each library's own instances, made without a network."""

import asyncio
import importlib
import json
import socket
from dataclasses import replace
from typing import Any

import aiohttp
import httpx2
import pytest
import requests
import urllib3
from google.genai import errors as genai_errors

from ratelimit_router.errors import Overloaded, RateLimited
from ratelimit_router.outcomes import Kind, Outcome
from ratelimit_router_providers.gemini import GeminiProvider
from ratelimit_router_providers.gemini_legacy import GeminiLegacyProvider
from ratelimit_router_providers.google_faults import call_outcome
from ratelimit_router_providers.legacy_clients import load_sdk

load_sdk()
api_core: Any = importlib.import_module("google.api_core.exceptions")
generation_types: Any = importlib.import_module("google.generativeai.types.generation_types")
auth: Any = importlib.import_module("google.auth.exceptions")

DAY = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "250"}
DETAILS = [
    {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [DAY]},
    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36s"},
]
BODY = {"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": DETAILS}}
DAILY = Outcome(kind=Kind.RATE_LIMITED, retry_after=36.0, quota="rpd", limit=250.0, detail="429 RESOURCE_EXHAUSTED")


@pytest.fixture(params=[GeminiProvider, GeminiLegacyProvider])
def classify(request: pytest.FixtureRequest) -> Any:
    return request.param().classify


def requests_error(reason: Exception) -> requests.ConnectionError:
    """As requests wraps what urllib3 gave up on."""
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, "/", reason))


def answered(body: object, status: int = 429) -> Any:
    """requests' response to a POST, as api_core reads it."""
    response = requests.Response()
    response.status_code, response._content = status, json.dumps(body).encode()
    response.request = requests.Request("POST", "http://service/").prepare()
    return response


def lost_stream_error(body: object) -> BaseException:
    """As google-generativeai raises it when a streamed call is answered with an error."""
    with pytest.raises(api_core.BadRequest) as caught, generation_types.rewrite_stream_error():
        raise api_core.from_http_response(answered(body))
    return caught.value


KEY = socket.gaierror(-2, "Name or service not known")
TRANSPORT = [
    (httpx2.ConnectError("x"), Kind.NOT_SENT),
    (httpx2.ConnectTimeout("x"), Kind.NOT_SENT),
    (httpx2.PoolTimeout("x"), Kind.NOT_SENT),
    (httpx2.ReadTimeout("x"), Kind.TIMEOUT),
    (httpx2.WriteTimeout("x"), Kind.TIMEOUT),
    (httpx2.ReadError("x"), Kind.BAD_RESPONSE),
    (httpx2.RemoteProtocolError("x"), Kind.BAD_RESPONSE),
    (httpx2.DecodingError("x"), Kind.BAD_RESPONSE),
    (httpx2.UnsupportedProtocol("x"), Kind.NOT_SENT),
    (httpx2.StreamClosed(), Kind.BAD_RESPONSE),
    (aiohttp.ServerTimeoutError("x"), Kind.TIMEOUT),
    (aiohttp.ConnectionTimeoutError("x"), Kind.NOT_SENT),
    (aiohttp.ServerDisconnectedError("x"), Kind.BAD_RESPONSE),
    (aiohttp.ClientPayloadError("x"), Kind.BAD_RESPONSE),
    (aiohttp.ClientOSError(104, "reset"), Kind.BAD_RESPONSE),
    (aiohttp.ClientConnectorError(None, OSError(111, "refused")), Kind.NOT_SENT),
    (aiohttp.ClientConnectorDNSError(None, KEY), Kind.NOT_SENT),
    (requests.ConnectTimeout("x"), Kind.NOT_SENT),
    (requests.ReadTimeout("x"), Kind.TIMEOUT),
    (requests.ConnectionError("x"), Kind.BAD_RESPONSE),
    (requests_error(urllib3.exceptions.NewConnectionError(None, "refused")), Kind.NOT_SENT),
    (requests_error(urllib3.exceptions.ProtocolError("aborted", ConnectionResetError())), Kind.BAD_RESPONSE),
    (requests.ConnectionError(urllib3.exceptions.ReadTimeoutError(None, "", "late")), Kind.TIMEOUT),
    (requests.exceptions.ChunkedEncodingError("x"), Kind.BAD_RESPONSE),
    (requests.exceptions.SSLError("x"), Kind.NOT_SENT),
    (auth.TransportError("x"), Kind.NOT_SENT),
    (auth.RefreshError("x"), Kind.AUTH),
    (json.JSONDecodeError("x", "", 0), Kind.BAD_RESPONSE),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), Kind.BAD_RESPONSE),
    (genai_errors.UnknownApiResponseError("x"), Kind.BAD_RESPONSE),
    (generation_types.BlockedPromptException("x"), Kind.BAD_REQUEST),
    (generation_types.StopCandidateException("x"), Kind.BAD_RESPONSE),
    (TimeoutError(), Kind.TIMEOUT),
    (ConnectionRefusedError(), Kind.NOT_SENT),
    (ConnectionResetError(), Kind.BAD_RESPONSE),
    (asyncio.CancelledError(), Kind.CANCELLED),
    (ValueError("the caller's own"), Kind.UNKNOWN),
    (KeyError("the caller's own"), Kind.UNKNOWN),
]


@pytest.mark.parametrize(
    ("error", "kind"), TRANSPORT, ids=[f"{index}-{type(error).__name__}" for index, (error, _) in enumerate(TRANSPORT)]
)
def test_each_exception_below_the_answer_has_its_kind(classify: Any, error: BaseException, kind: Kind) -> None:
    """Refused, late, reset and malformed are told apart for each HTTP client, by both providers."""
    assert classify(error).kind is kind


def test_our_own_errors_keep_their_facts(classify: Any) -> None:
    """What a caller reports in our terms is taken as it is."""
    found = classify(RateLimited(12.0, "rpm", 10.0, others=(("rpd", None),)))
    assert (found.kind, found.retry_after, found.quota, found.limit) == (Kind.RATE_LIMITED, 12.0, "rpm", 10.0)
    assert classify(Overloaded(3.0)).retry_after == 3.0


def test_the_errors_of_google_genai_are_read_from_their_details(classify: Any) -> None:
    """A caller who uses the SDK under a lease gets the same outcome as through the provider."""
    assert classify(genai_errors.ClientError(429, BODY)) == DAILY
    assert classify(genai_errors.ClientError(404, {"error": {"status": "NOT_FOUND"}})).kind is Kind.MODEL_GONE
    assert (
        classify(genai_errors.ServerError(502, {"message": "<html>", "status": "Bad Gateway"})).kind is Kind.OVERLOADED
    )
    assert classify(genai_errors.APIError(302, {})).kind is Kind.BAD_RESPONSE


def test_a_retry_after_header_reaches_the_outcome(classify: Any) -> None:
    """The response that hangs on the SDK's error is asked for the header where the body gives no hint."""
    response = httpx2.Response(429, headers={"Retry-After": "7"})
    assert classify(genai_errors.ClientError(429, {"error": {}}, response)).retry_after == 7.0


def test_the_sdk_s_wrapper_is_read_by_what_it_wraps(classify: Any) -> None:
    """An interrupted continuation is what interrupted it."""
    wrapper = genai_errors.ContinuationInterruptedError("x")
    wrapper.__cause__ = genai_errors.ClientError(429, BODY)
    assert classify(wrapper) == DAILY


def test_the_errors_of_api_core_are_read_from_their_details(classify: Any) -> None:
    """A 429 over REST is TooManyRequests, with the details parsed."""
    error = api_core.from_http_response(answered(BODY))
    assert type(error).__name__ == "TooManyRequests"
    assert classify(error) == replace(DAILY, detail="429")
    assert classify(api_core.Forbidden("x")).kind is Kind.AUTH
    assert classify(api_core.NotFound("x")).kind is Kind.MODEL_GONE
    assert classify(api_core.ServiceUnavailable("x")).kind is Kind.OVERLOADED
    assert classify(api_core.DeadlineExceeded("x")).kind is Kind.TIMEOUT
    assert classify(api_core.InvalidArgument("API key not valid.")).kind is Kind.AUTH


def test_details_over_grpc_are_protobuf_messages(classify: Any) -> None:
    """The hint of an RetryInfo message counts as its JSON does."""
    details = importlib.import_module("google.rpc.error_details_pb2")
    delay = importlib.import_module("google.protobuf.duration_pb2").Duration(seconds=36)
    error = api_core.ResourceExhausted("quota", details=[details.RetryInfo(retry_delay=delay)])
    found = classify(error)
    assert (found.kind, found.retry_after) == (Kind.RATE_LIMITED, 36.0)


def test_a_retry_that_gave_up_is_what_it_gave_up_on(classify: Any) -> None:
    """api_core's RetryError hides the last failure, or stands for its own timeout."""
    assert classify(api_core.RetryError("x", api_core.from_http_response(answered(BODY)))).quota == "rpd"
    assert classify(api_core.RetryError("x", None)).kind is Kind.TIMEOUT


def test_a_streamed_429_that_surfaces_as_400_is_recovered(classify: Any) -> None:
    """google-generativeai loses the body of a streamed error; it is found in the frames of that failure."""
    assert classify(lost_stream_error([BODY])) == DAILY


def test_a_lost_stream_error_without_its_body_is_a_bare_rejection(classify: Any) -> None:
    """When nothing is left of the answer, the request is not blamed."""
    error = lost_stream_error([BODY])
    assert error.__context__ is not None
    error.__context__.__traceback__ = None
    assert classify(error) == Outcome(kind=Kind.RATE_LIMITED, detail="BadRequest")


def test_an_exception_the_sdk_chokes_with_is_a_bad_response() -> None:
    """Inside of a call, what nobody recognises came from the answer; a bare ValueError from the request, if told so."""
    assert call_outcome(TypeError()).kind is Kind.BAD_RESPONSE
    assert call_outcome(ValueError()).kind is Kind.BAD_RESPONSE
    assert call_outcome(ValueError(), value_error=Kind.BAD_REQUEST).kind is Kind.BAD_REQUEST
    assert call_outcome(httpx2.ConnectError("x"), value_error=Kind.BAD_REQUEST).kind is Kind.NOT_SENT
