"""What becomes of an article: a result, and the record that is written of it."""

from dataclasses import asdict, dataclass
from typing import Any

from ratelimit_router_extraction.entities import Extraction
from ratelimit_router_extraction.plan import Job
from ratelimit_router_extraction.prompt import PROMPT_VERSION

__all__ = ["Failure", "Result", "record_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an article has no entities: the error's name and a message without any text of article or answer."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one job. Seconds: `waited` for quota over all attempts, `called` in calls.

    `model` and `depth` are of the last call. Tokens are the sum of what the service reported.
    """

    job: Job
    extraction: Extraction | None = None
    failure: Failure | None = None
    model: str | None = None
    depth: int | None = None
    attempts: int = 0
    waited: float = 0.0
    called: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    truncated: bool = False


def record_of(result: Result) -> dict[str, Any]:
    """The result as it is written."""
    article, extraction = result.job.article, result.extraction
    return {
        "id": article.id,
        "content_hash": article.content_hash,
        "tier": result.job.tier,
        "priority": round(result.job.score.value, 4),
        "entities": [asdict(entity) for entity in extraction.entities] if extraction else [],
        "unfound": extraction.unfound if extraction else 0,
        "model": result.model,
        "depth": result.depth,
        "waited": round(result.waited, 3),
        "called": round(result.called, 3),
        "attempts": result.attempts,
        "input_tokens": result.input_tokens,
        "output_tokens": result.output_tokens,
        "truncated": result.truncated,
        "prompt_version": PROMPT_VERSION,
        "error": asdict(result.failure) if result.failure else None,
    }
