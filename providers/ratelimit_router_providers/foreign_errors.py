"""What the exceptions of HTTP clients and SDKs mean, told by name, so that none of them has to be imported.

The one distinction that counts is whether the request can have reached the service. Known are httpx2 and httpx,
aiohttp, requests (with urllib3 inside), and those exceptions of Google's packages that carry no status of their own.
"""

from ratelimit_router.outcomes import Kind

__all__ = ["kind_by_name"]

_HTTPX = {
    "ConnectError": Kind.NOT_SENT,
    "ConnectTimeout": Kind.NOT_SENT,
    "PoolTimeout": Kind.NOT_SENT,
    "ProxyError": Kind.NOT_SENT,
    "UnsupportedProtocol": Kind.NOT_SENT,
    "LocalProtocolError": Kind.NOT_SENT,
    "InvalidURL": Kind.NOT_SENT,
    "TimeoutException": Kind.TIMEOUT,
    "RequestError": Kind.BAD_RESPONSE,
    "StreamError": Kind.BAD_RESPONSE,
}
_NAMES: dict[str, dict[str, Kind]] = {
    "httpx": _HTTPX,
    "httpx2": _HTTPX,
    "aiohttp": {
        "ClientConnectorError": Kind.NOT_SENT,
        "ConnectionTimeoutError": Kind.NOT_SENT,
        "ClientProxyConnectionError": Kind.NOT_SENT,
        "InvalidURL": Kind.NOT_SENT,
        "ServerTimeoutError": Kind.TIMEOUT,
        "ClientError": Kind.BAD_RESPONSE,
    },
    "requests": {
        "ConnectTimeout": Kind.NOT_SENT,
        "ProxyError": Kind.NOT_SENT,
        "SSLError": Kind.NOT_SENT,
        "InvalidURL": Kind.NOT_SENT,
        "InvalidSchema": Kind.NOT_SENT,
        "MissingSchema": Kind.NOT_SENT,
        "InvalidHeader": Kind.NOT_SENT,
        "Timeout": Kind.TIMEOUT,
        "RequestException": Kind.BAD_RESPONSE,
    },
    "urllib3": {
        "NewConnectionError": Kind.NOT_SENT,
        "NameResolutionError": Kind.NOT_SENT,
        "ConnectTimeoutError": Kind.NOT_SENT,
        "ReadTimeoutError": Kind.TIMEOUT,
        "HTTPError": Kind.BAD_RESPONSE,
    },
    "google": {
        "TransportError": Kind.NOT_SENT,  # google.auth: while it fetched a token, before the request itself
        "RefreshError": Kind.AUTH,
        "DefaultCredentialsError": Kind.AUTH,
        "UnknownApiResponseError": Kind.BAD_RESPONSE,
        "ParseError": Kind.BAD_RESPONSE,  # protobuf
        "DecodeError": Kind.BAD_RESPONSE,
        "BlockedPromptException": Kind.BAD_REQUEST,
        "StopCandidateException": Kind.BAD_RESPONSE,
        "BrokenResponseError": Kind.BAD_RESPONSE,
    },
}
_DEEPEST = 4


def kind_by_name(error: BaseException) -> Kind | None:
    """The kind of a foreign exception; None if it is not a known one."""
    for cls in type(error).__mro__:
        package = (cls.__module__ or "").partition(".")[0]
        if (kind := _NAMES.get(package, {}).get(cls.__name__)) is None:
            continue
        if package == "requests" and kind is Kind.BAD_RESPONSE:
            return _inside(error) or kind
        return kind
    return None


def _inside(error: BaseException) -> Kind | None:
    """requests wraps refused, reset and late connections alike: urllib3's own exception, inside, tells them apart."""
    inner: object = error
    for _ in range(_DEEPEST):
        if isinstance(reason := getattr(inner, "reason", None), BaseException):
            inner = reason
        elif isinstance(inner, BaseException) and inner.args and isinstance(inner.args[0], BaseException):
            inner = inner.args[0]
        else:
            break
    return kind_by_name(inner) if isinstance(inner, BaseException) and inner is not error else None
