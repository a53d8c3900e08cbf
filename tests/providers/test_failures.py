"""Outcomes to the errors that a provider raises."""

import pickle

import pytest

from ratelimit_router import errors
from ratelimit_router.outcomes import Kind, Outcome, outcome_of
from ratelimit_router_providers.failures import SdkError, failed, failure, missing_sdk

RAISED = [kind for kind in Kind if kind not in (Kind.CANCELLED, Kind.UNKNOWN)]


@pytest.mark.parametrize("kind", RAISED)
def test_an_outcome_survives_being_raised(kind: Kind) -> None:
    """The error made for an outcome is classified as that outcome again, with its facts."""
    hint = 5.0 if kind in (Kind.RATE_LIMITED, Kind.OVERLOADED) else None
    made = failure(Outcome(kind=kind, retry_after=hint, detail="418 TEAPOT"))
    again = outcome_of(made)
    assert (again.kind, again.retry_after) == (kind, hint)


def test_quota_facts_survive_being_raised_and_pickled() -> None:
    """Quota, limit and the other quotas go with the error, also into another process."""
    found = Outcome(kind=Kind.RATE_LIMITED, retry_after=1.0, quota="rpd", limit=0.0, others=(("rpm", 5.0),))
    again = pickle.loads(pickle.dumps(failure(found)))
    assert (again.retry_after, again.quota, again.limit, again.others) == (1.0, "rpd", 0.0, (("rpm", 5.0),))


def test_the_cause_names_the_sdk_s_exception_and_keeps_none_of_its_text() -> None:
    """The story of the SDK is told by class and status; its message, args and frames are dropped."""
    made = failed(LookupError("secret"))
    assert isinstance(made, errors.BadResponse)
    assert repr(made.__cause__) == "SdkError('builtins.LookupError')"
    assert "secret" not in repr((made, made.__cause__, made.__cause__.__dict__ if made.__cause__ else None))
    status = failure(Outcome(kind=Kind.AUTH, detail="403 PERMISSION_DENIED"), LookupError("secret")).__cause__
    assert isinstance(status, SdkError)
    assert str(status) == "builtins.LookupError 403 PERMISSION_DENIED"


def test_one_of_ours_passes_without_the_frames_it_came_through() -> None:
    """An error of ours is not wrapped again, and forgets where it was caught."""

    def fail() -> None:
        try:
            raise KeyError("secret")
        except KeyError:
            raise errors.BadRequest("told") from None

    with pytest.raises(errors.BadRequest) as caught:
        fail()
    passed = failed(caught.value)
    assert passed is caught.value
    assert (passed.__traceback__, passed.__context__) == (None, None)


def test_a_missing_sdk_names_the_extra() -> None:
    """The message is the command that mends it."""
    assert "pip install 'ratelimit-router[gemini]'" in str(missing_sdk("google-genai", "gemini"))
