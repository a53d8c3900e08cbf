"""All or none, for each key and model, with a hint that is true."""

import math

from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router.limits import Limit, Limits
from ratelimit_router.models import Model
from ratelimit_router.simulation.quota import Decision, ModelQuota, Violation, hint_seconds
from ratelimit_router_providers.fake_service.config import FakeModel, QuotaRule, ServiceConfig

START = 1_700_000_000.0


def quota_of(*rules: QuotaRule, concurrency: int | None = None, charge_refused: bool = False) -> ModelQuota:
    return ModelQuota(rules, concurrency=concurrency, charge_refused=charge_refused)


@given(
    st.lists(st.tuples(st.floats(min_value=0, max_value=20), st.integers(min_value=0, max_value=60)), max_size=40),
    st.sampled_from(["continuous", "rolling", "fixed"]),
)
def test_the_hint_of_a_refusal_is_right(calls: list[tuple[float, int]], window: str) -> None:
    """At the promised instant the same request passes; a refused one has changed nothing."""
    rules = (
        QuotaRule(name="rpm", amount=5, window=window),  # type: ignore[arg-type] -- drawn from the kinds
        QuotaRule(name="input_tpm", amount=100, window=window),  # type: ignore[arg-type] -- drawn from the kinds
        QuotaRule(name="rpd", amount=500),
    )
    quota = quota_of(*rules)
    now = START
    for gap, tokens in calls:
        now += gap
        before = quota.left(now)
        decision = quota.admit(now, tokens)
        if not decision.admitted:
            assert quota.left(now) == before
            now += decision.retry_after
            assert quota.admit(now, tokens).admitted


def test_every_quota_in_the_way_is_named() -> None:
    """Two exhausted quotas are two violations, and the hint is the longer wait."""
    quota = quota_of(QuotaRule(name="rpm", amount=1), QuotaRule(name="rpd", amount=1, resets="00:00 UTC"))
    assert quota.admit(START, 1).admitted
    decision = quota.admit(START, 1)
    assert [violation.name for violation in decision.violations] == ["rpm", "rpd"]
    assert decision.retry_after == 86_400 - START % 86_400


def test_the_answer_is_charged_in_the_instant_of_the_request_and_may_overdraw() -> None:
    """Total tokens: 90 in fit into 100, 50 out are charged too, and the next waits for what is owed."""
    quota = quota_of(QuotaRule(name="tpm", amount=100))
    assert quota.admit(START, 90, 50).admitted
    assert quota.left(START) == {"tpm": -40}
    assert quota.admit(START + 30, 1).retry_after == 30


def test_a_prompt_larger_than_the_quota_never_passes() -> None:
    """The wait is infinite; the 429 then hints at the usual minute."""
    decision = quota_of(QuotaRule(name="input_tpm", amount=100)).admit(START, 101)
    assert decision.retry_after == math.inf
    assert hint_seconds(decision, "right") == 60


def test_concurrency_ends_with_the_call() -> None:
    """The third call of two is refused until one is released."""
    quota = quota_of(concurrency=2)
    assert quota.admit(START, 1).admitted
    assert quota.admit(START, 1).admitted
    assert [violation.name for violation in quota.admit(START, 1).violations] == ["concurrency"]
    quota.release()
    assert quota.admit(START, 1).admitted


def test_a_refused_call_uses_quota_only_where_the_model_says_so() -> None:
    """With `charge_refused`, hammering keeps a rolling window shut."""
    lenient, strict = (quota_of(QuotaRule(name="rpm", amount=1), charge_refused=charge) for charge in (False, True))
    for quota in (lenient, strict):
        assert quota.admit(START, 1).admitted
        assert not quota.admit(START + 30, 1).admitted
    assert lenient.admit(START + 60, 1).admitted
    assert not strict.admit(START + 60, 1).admitted


def test_quotas_that_change_in_mid_run_keep_what_was_spent() -> None:
    """A lower limit counts the past, a window of another kind starts afresh, and a quota that is gone is gone."""
    quota = quota_of(
        QuotaRule(name="rpm", amount=10), QuotaRule(name="tpm", amount=100), QuotaRule(name="rpd", amount=5)
    )
    assert quota.admit(START, 60).admitted
    changed = (QuotaRule(name="rpm", amount=4), QuotaRule(name="tpm", amount=100, window="continuous"))
    quota.configure(START, changed, concurrency=1, leeway=0.5)
    assert quota.left(START) == {"rpm": 3, "tpm": 100 + 100 / 60 / 2}
    assert [violation.name for violation in quota.admit(START, 1).violations] == ["concurrency"]
    assert quota.left(START + 59.5)["rpm"] == 4


def test_a_limit_of_zero_never_opens() -> None:
    """No request passes, at any time."""
    assert quota_of(QuotaRule(name="rpm", amount=0)).admit(START, 1).retry_after == math.inf


def test_the_kinds_of_hint() -> None:
    """Right, cut to whole seconds, a third, or none."""
    decision = Decision(violations=(Violation(name="rpm", amount=1, wait=33.6),))
    assert [hint_seconds(decision, hint) for hint in ("right", "truncated", "short", "missing")] == [
        33.6,
        33.0,
        33.6 / 3,
        None,
    ]


def test_a_mirror_enforces_what_the_router_believes() -> None:
    """Refills become windows of the same kind; Gemini's days are days."""
    limits = Limits(rpm=10, input_tpm=Limit(900, per=30, burst=300), rpd=250, tpm=Limit(50, refill="calendar"))
    rules = {rule.name: rule for rule in FakeModel.mirror(Model("flash", limits=limits)).quotas}
    assert (rules["rpm"].window, rules["rpm"].amount, rules["rpm"].period) == ("rolling", 10, 60)
    assert (rules["input_tpm"].window, rules["input_tpm"].burst, rules["input_tpm"].period) == ("continuous", 300, 30)
    assert (rules["rpd"].window, rules["rpd"].resets) == ("day", "00:00 America/Los_Angeles")
    assert rules["tpm"].window == "fixed"


def test_a_mirror_with_a_factor_scales_amounts_and_keeps_requests_whole() -> None:
    """Half of 7 requests is 3; half of 1 stays 1; a quota of 0 stays 0."""
    models = [Model("a", limits=Limits(rpm=7, rpd=1, concurrency=3)), Model("b", limits=Limits(rpm=0, tpm=9))]
    config = ServiceConfig.mirror(models, factor=0.5)
    assert [rule.amount for rule in config.models["a"].quotas] == [3, 1]
    assert config.models["a"].concurrency == 1
    assert sorted(rule.amount for rule in config.models["b"].quotas) == [0, 4.5]


def test_models_that_share_an_id_are_one_model_of_the_service() -> None:
    """Two keys for one model: the service has the model once, and quotas for each key anyway."""
    models = [Model("a", id="same", limits=Limits(rpm=1)), Model("b", id="same", limits=Limits(rpm=2))]
    assert list(ServiceConfig.mirror(models).models) == ["same"]
