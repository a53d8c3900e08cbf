"""Which key opens a model: its own, or else the environment variable that Google's SDKs read."""

import os
from collections.abc import Mapping

from ratelimit_router.errors import AuthError, ConfigError
from ratelimit_router.models import Model

__all__ = ["api_key"]

_VARIABLES = ("GOOGLE_API_KEY", "GEMINI_API_KEY")  # in the order of google-genai


def api_key(model: Model, environ: Mapping[str, str] = os.environ) -> str:
    """The model's key. Raises ConfigError if there is none, AuthError if it cannot stand in a header."""
    secret = model.api_key()
    if secret is None:
        secret = next((found for name in _VARIABLES if (found := environ.get(name, "").strip())), "")
    if not (secret := secret.strip()):
        raise ConfigError(
            f"no key: give it as 'env:NAME', or set one of {', '.join(_VARIABLES)}", key=f"models.{model.name}.key"
        )
    if not all("!" <= character <= "~" for character in secret):
        raise AuthError("the key holds characters that no key has (a line break, a space, a typographic sign)")
    return secret
