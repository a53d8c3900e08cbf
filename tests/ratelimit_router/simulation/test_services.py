"""Simulated services, each judged at instants that were worked out by hand."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from ratelimit_router import Model, Tier
from ratelimit_router.errors import ProviderError, RateLimited
from ratelimit_router.simulation.lab import play
from ratelimit_router.simulation.quota import QuotaRule
from ratelimit_router.simulation.run import Call, Run
from ratelimit_router.simulation.scenario import (
    Account,
    Change,
    Consumer,
    Distribution,
    Hint,
    Load,
    Network,
    Scenario,
    Service,
    Task,
    Told,
    Trouble,
    TroubleKind,
)
from ratelimit_router.simulation.services import Services
from ratelimit_router.simulation.windows import WindowKind

MIDNIGHT = 1_790_035_200.0  # UTC; seven hours before the next one in Los Angeles
NEAR = Network(latency=0.0)


class Once:
    """Calls the model that is named like the task's tier, once."""

    def __init__(self, services: Services, errors: dict[int, ProviderError]):
        self._services, self._errors = services, errors

    async def perform(self, task: Task) -> None:
        try:
            await self._services.call(task.tier, task)
        except ProviderError as error:
            self._errors[task.number] = error
            raise

    async def aclose(self) -> None:
        pass


def scenario(
    services: Sequence[Service],
    calls: Sequence[tuple[float, str]],
    tokens: tuple[int, int] = (0, 0),
    network: Network = NEAR,
    **more: Any,
) -> Scenario:
    """Calls of models at instants, all of so many tokens, to services next door."""
    sizes = [Distribution(median=float(size)) for size in tokens]
    return Scenario(
        name="by hand",
        models=tuple(Model(service.name) for service in services),
        tiers=tuple(Tier(service.name, [service.name]) for service in services),
        services=tuple(services),
        loads=tuple(
            Load(tier=name, tasks=1, start=at, input_tokens=sizes[0], output_tokens=sizes[1]) for at, name in calls
        ),
        network=network,
        start=MIDNIGHT,
        **{"horizon": 100_000.0} | more,
    )


def asked(storm: Scenario, *, watch: bool = False) -> tuple[Run, dict[int, ProviderError]]:
    errors: dict[int, ProviderError] = {}
    run = play(storm, lambda scenario, services, tasks, run: Once(services, errors), watch=watch)
    run.calls.sort(key=lambda call: call.task)
    return run, errors


def calls_at(*instants: float, tokens: tuple[int, int] = (0, 0), network: Network = NEAR, **service: Any) -> list[Call]:
    """What becomes of calls to one service at these instants."""
    storm = scenario([Service(name="m", **service)], [(at, "m") for at in instants], tokens, network)
    return asked(storm)[0].calls


def verdicts(calls: Sequence[Call]) -> list[float | str | None]:
    """For each call "ok", the hint of a 429, or the result."""
    return [call.hint if call.result == "rate_limited" else call.result for call in calls]


@pytest.mark.parametrize(
    ("window", "instants", "expected"),
    [
        ("continuous", [0.0, 0.0, 0.0, 24.0, 30.0, 59.0], ["ok", "ok", 30.0, 6.0, "ok", 1.0]),
        ("rolling", [0.0, 20.0, 30.0, 60.0, 79.0, 80.0], ["ok", "ok", 30.0, "ok", 1.0, "ok"]),
        ("fixed", [50.0, 59.0, 59.5, 60.0, 61.0, 62.0], ["ok", "ok", 0.5, "ok", "ok", 58.0]),
        ("day", [0.0, 9.0, 25_140.0, 25_200.0], ["ok", "ok", 60.0, "ok"]),
    ],
)
def test_each_kind_of_window(window: WindowKind, instants: list[float], expected: list[float | str]) -> None:
    """Two a minute (or a day): evenly, by the last minute, by the clock's minute, by the day in Los Angeles."""
    rule = QuotaRule(name="rpd" if window == "day" else "rpm", amount=2, window=window)
    assert verdicts(calls_at(*instants, quotas=(rule,))) == [pytest.approx(one) for one in expected]


def test_a_burst_is_the_size_of_the_bucket() -> None:
    """Sixty a minute with a burst of two: the third at once is a second too early."""
    rule = QuotaRule(name="rpm", amount=60, window="continuous", burst=2)
    assert verdicts(calls_at(0.0, 0.0, 0.0, 1.0, quotas=(rule,))) == ["ok", "ok", 1.0, "ok"]


def test_input_must_fit_and_output_may_overdraw() -> None:
    """60 + 60 input tokens are more than 100; answers of 150 leave a quota of 100 overdrawn until the minute ends."""
    rules = [QuotaRule(name=name, amount=100, window="fixed") for name in ("input_tpm", "output_tpm")]
    assert verdicts(calls_at(0.0, 1.0, 60.0, tokens=(60, 0), quotas=(rules[0],))) == ["ok", 59.0, "ok"]
    assert verdicts(calls_at(0.0, 1.0, 60.0, tokens=(0, 150), quotas=(rules[1],))) == ["ok", 59.0, "ok"]


def test_what_never_fits_is_told_to_wait_a_minute() -> None:
    """A service does not say never."""
    [call] = calls_at(0.0, tokens=(500, 0), quotas=(QuotaRule(name="input_tpm", amount=100),))
    assert (call.result, call.quota, call.hint) == ("rate_limited", "input_tpm", 60.0)


def test_a_refused_call_costs_nothing_unless_the_service_charges_it() -> None:
    """The call at 30 is refused; charged, it stands in the way of the one at 60, and its input is spent."""
    rules = (QuotaRule(name="rpm", amount=1),)
    calls = calls_at(0.0, 30.0, 60.0, tokens=(7, 5), quotas=rules)
    assert verdicts(calls) == ["ok", 30.0, "ok"]
    assert [(call.input_tokens, call.output_tokens) for call in calls] == [(7, 5), (0, 0), (7, 5)]
    calls = calls_at(0.0, 30.0, 60.0, 120.0, tokens=(7, 5), quotas=rules, charge_refused=True)
    assert verdicts(calls) == ["ok", 30.0, 30.0, "ok"]
    assert [(call.input_tokens, call.output_tokens) for call in calls] == [(7, 5), (7, 0), (7, 0), (7, 5)]


def test_concurrency() -> None:
    """One at a time, five seconds each: the second is told to try in a second; after the answer there is room."""
    calls = calls_at(0.0, 4.9, 5.1, concurrency=1, latency=Distribution(median=5.0))
    assert verdicts(calls) == ["ok", 1.0, "ok"]
    assert [call.quota for call in calls] == [None, "concurrency", None]


def test_what_goes_wrong_frees_its_place() -> None:
    """Silence holds the place until the client gives up; a garbled answer until it has come."""
    troubles = (Trouble(kind="silent", end=1.0), Trouble(kind="garbled", start=31.0, end=31.5))
    calls = calls_at(0.0, 29.0, 31.0, 33.0, concurrency=1, troubles=troubles)
    assert verdicts(calls) == ["timeout", 1.0, "bad_response", "ok"]


def test_an_account_is_shared_and_named() -> None:
    """What one model spends the other cannot; the refusal names the account and its quota."""
    services = [Service(name=name, accounts=("project",)) for name in ("a", "b")]
    storm = scenario(
        services,
        [(0.0, "a"), (10.0, "b"), (60.0, "b")],
        accounts=(Account(name="project", quotas=(QuotaRule(name="rpm", amount=1),)),),
    )
    calls = asked(storm)[0].calls
    assert [(call.quota, call.hint, call.result) for call in calls] == [
        (None, None, "ok"), ("project.rpm", 50.0, "rate_limited"), (None, None, "ok"),
    ]  # fmt: skip


def test_all_quotas_are_charged_or_none() -> None:
    """Refused by the account, a call has not used the model's own quota."""
    one, two = QuotaRule(name="rpm", amount=1, window="fixed"), QuotaRule(name="rpm", amount=2, window="fixed")
    services = [Service(name="a", quotas=(two,), accounts=("project",))]
    account = Account(name="project", quotas=(one,), changes=(Change(at=20.0, factor=3),))
    storm = scenario(services, [(0.0, "a"), (10.0, "a"), (30.0, "a"), (40.0, "a")], accounts=(account,))
    assert [call.quota for call in asked(storm)[0].calls] == [None, "project.rpm", None, "rpm"]


@pytest.mark.parametrize(
    ("hint", "told"),
    [("right", 58.5), ("truncated", 58.0), ("short", 19.5), ("long", 175.5), ("missing", None)],
)
def test_hints(hint: Hint, told: float | None) -> None:
    """The truth is 58.5 seconds; what is told may be something else."""
    _, call = calls_at(0.0, 1.5, quotas=(QuotaRule(name="rpm", amount=1),), hint=hint)
    assert (call.result, call.hint) == ("rate_limited", told)


@pytest.mark.parametrize(
    ("tells", "told"),
    [
        ("limit", ("rpd", 1, (("rpm", 1),))),
        ("quota", ("rpd", None, (("rpm", None),))),
        ("nothing", (None, None, ())),
    ],
)
def test_tells(tells: Told, told: tuple[Any, ...]) -> None:
    """Both quotas are in the way: the day's comes first, with its true amount, or its name alone, or nothing."""
    rules = (QuotaRule(name="rpm", amount=1), QuotaRule(name="rpd", amount=1))
    _, errors = asked(scenario([Service(name="m", quotas=rules, tells=tells)], [(0.0, "m"), (1.0, "m")]))
    error = errors[1]
    assert isinstance(error, RateLimited)
    assert (error.quota, error.limit, error.others) == told
    assert error.retry_after == 25_199.0


def test_a_quota_of_nothing_comes_first() -> None:
    """An amount of zero is told before everything else: it never comes back."""
    rules = (QuotaRule(name="rpd", amount=1), QuotaRule(name="rpm", amount=0))
    [call] = calls_at(0.0, quotas=rules)
    assert (call.quota, call.hint) == ("rpm", 60.0)


def test_changes_keep_what_was_spent() -> None:
    """Four a minute, half of it from 30 s on, all of it again from 40 s on: the three of before still count."""
    changes = (Change(at=40.0, factor=1.0), Change(at=30.0, factor=0.5))
    rules = (QuotaRule(name="rpm", amount=4, window="fixed"),)
    calls = calls_at(0.0, 1.0, 29.0, 30.0, 39.0, 40.0, 41.0, quotas=rules, changes=changes)
    assert verdicts(calls) == ["ok", "ok", "ok", 30.0, 21.0, "ok", 19.0]


def test_a_bucket_that_shrinks_still_holds_one_request() -> None:
    """A burst of 2 at 0.4 of the quota would hold less than a request, and never admit any."""
    rules = (QuotaRule(name="rpm", amount=60, window="continuous", burst=2),)
    calls = calls_at(0.0, 0.0, 30.0, 30.0, 33.0, quotas=rules, changes=(Change(at=1.0, factor=0.4),))
    assert verdicts(calls) == ["ok", "ok", "ok", pytest.approx(2.5), "ok"]
    gone = calls_at(2.0, quotas=rules, changes=(Change(at=1.0, factor=0.0),))
    assert verdicts(gone) == [60.0]


def test_others_come_first_whether_they_fit_or_not() -> None:
    """Others spend what there is, and more: our call fits when the last of theirs but one has come back."""
    consumer = Consumer(rate=0.5, end=20.0)
    service = Service(name="m", quotas=(QuotaRule(name="rpm", amount=2),), consumers=(consumer,))
    storm = scenario([service], [(30.0, "m"), (31.0, "m")], seed=4)
    instants = [at for at, _, _ in storm.consumption()["m"]]
    assert len(instants) > 3
    [call, _] = asked(storm)[0].calls
    assert call.hint == pytest.approx(instants[-2] + 60.0 - 30.0)


def test_others_use_tokens() -> None:
    """A hundred tokens by each of their calls."""
    consumer = Consumer(rate=1.0, end=10.0, input_tokens=Distribution(median=100.0))
    service = Service(name="m", quotas=(QuotaRule(name="tpm", amount=10_000),), consumers=(consumer,))
    storm = scenario([service], [(12.0, "m")], tokens=(1, 0))
    run, _ = asked(storm, watch=True)
    others = storm.consumption()["m"]
    assert [level.left for level in run.levels if level.at == 10.0] == [10_000 - 100 * len(others)]


@pytest.mark.parametrize(
    ("kind", "result", "seconds", "used"),
    [
        ("overloaded", "overloaded", 0.0, 0),
        ("silent", "timeout", 30.0, 9),
        ("unreachable", "not_sent", 0.0, 0),
        ("garbled", "bad_response", 1.0, 9),
        ("key_refused", "auth", 0.0, 0),
    ],
)
def test_troubles(kind: TroubleKind, result: str, seconds: float, used: int) -> None:
    """From 10 s to before 20 s, each in its own way; those that strike an admitted call cost its quota."""
    trouble = Trouble(kind=kind, start=10.0, end=20.0)
    calls = calls_at(9.9, 10.0, 20.0, tokens=(9, 0), troubles=(trouble,))
    assert [call.result for call in calls] == ["ok", result, "ok"]
    assert calls[1].ended == 10.0 + seconds
    assert calls[1].input_tokens == used


def test_trouble_that_costs_quota_costs_it() -> None:
    """A garbled answer has used the one request of the minute, an unreachable service has not."""
    rules = (QuotaRule(name="rpm", amount=1),)
    for kind, verdict in (("garbled", 59.0), ("unreachable", "ok")):
        calls = calls_at(0.0, 1.0, quotas=rules, troubles=(Trouble(kind=kind, end=0.5),))
        assert verdicts(calls)[1] == verdict


def test_trouble_at_random() -> None:
    """Of many calls about as many as the rate says, and the same ones each time."""
    storms = [calls_at(*range(400), troubles=(Trouble(kind="overloaded", rate=0.25),)) for _ in range(2)]
    struck = [sum(call.result == "overloaded" for call in calls) for calls in storms]
    assert 70 < struck[0] < 130
    assert storms[0] == storms[1]


def test_the_hint_of_an_overload() -> None:
    """As the trouble says, or none."""
    troubles = (Trouble(kind="overloaded", end=1.0, seconds=7.0), Trouble(kind="overloaded", end=3.0))
    assert [call.hint for call in calls_at(0.0, 2.0, troubles=troubles)] == [7.0, None]


def test_a_model_vanishes() -> None:
    """From that instant on it answers 404."""
    assert verdicts(calls_at(9.9, 10.0, 50.0, gone_at=10.0)) == ["ok", "model_gone", "model_gone"]


def test_the_network_takes_its_time_each_way() -> None:
    """Judged after one way; ended after the service's latency and the way back. A refusal takes both ways alone."""
    network = Network(latency=0.25)
    rules = (QuotaRule(name="rpm", amount=1),)
    good, bad = calls_at(0.0, 10.0, network=network, quotas=rules, latency=Distribution(median=2.0))
    assert (good.sent, good.judged, good.ended) == (0.0, 0.25, 2.5)
    assert (bad.sent, bad.judged, bad.ended, bad.hint) == (10.0, 10.25, 10.5, 50.0)


def test_jitter_lets_calls_overtake_each_other() -> None:
    """Each way takes up to 50 ms more, so a call sent later may be judged earlier; the same seed repeats it."""
    network = Network(latency=0.02, jitter=0.05)
    calls = calls_at(*(number / 1_000 for number in range(100)), network=network)
    ways = [call.judged - call.sent for call in calls]
    assert 0.02 <= min(ways) < 0.03
    assert 0.06 < max(ways) <= 0.07
    assert [call.judged for call in calls] != sorted(call.judged for call in calls)
    assert calls == calls_at(*(number / 1_000 for number in range(100)), network=network)


def test_a_clock_that_is_ahead() -> None:
    """Ten seconds ahead, the minute by the service's clock ends at 50 s of ours."""
    rules = (QuotaRule(name="rpm", amount=1, window="fixed"),)
    network = Network(latency=0.0, clock_offset=10.0)
    assert verdicts(calls_at(0.0, 49.0, 50.0, network=network, quotas=rules)) == ["ok", pytest.approx(1.0), "ok"]


def test_a_clock_that_wanders() -> None:
    """Within ten minutes it is up to two seconds ahead, then behind: the minutes at 180 s and at 420 s are shifted."""
    rules = (QuotaRule(name="rpm", amount=1, window="fixed"),)
    network = Network(latency=0.0, clock_jitter=2.0)
    ahead = verdicts(calls_at(170.0, 178.0, 178.2, network=network, quotas=rules))
    assert ahead == ["ok", pytest.approx(2.0 - 2.0 * math.sin(2 * math.pi * 178 / 600)), "ok"]
    behind = verdicts(calls_at(410.0, 421.8, 422.0, network=network, quotas=rules))
    assert behind == ["ok", pytest.approx(420 - 421.8 - 2.0 * math.sin(2 * math.pi * 421.8 / 600)), "ok"]


def test_latencies_belong_to_tasks() -> None:
    """However often and in whatever order tasks are called, each takes as long as the scenario says."""
    storm = scenario(
        [Service(name="m", latency=Distribution(median=2.0, sigma=0.7))], [(float(at), "m") for at in range(20)]
    )
    taken = [call.ended - call.judged for call in asked(storm)[0].calls]
    assert taken == pytest.approx(storm.latencies(storm.tasks())["m"])


def test_levels_of_every_quota() -> None:
    """Every five seconds: what is left of each quota of services and accounts, and how much it is."""
    services = [
        Service(name="m", accounts=("project",), quotas=(QuotaRule(name="rpm", amount=10, window="continuous"),))
    ]
    account = Account(
        name="project", quotas=(QuotaRule(name="rpd", amount=100),), changes=(Change(at=4.0, factor=0.5),)
    )
    run, _ = asked(scenario(services, [(0.0, "m"), (6.0, "m")], accounts=(account,)), watch=True)
    levels = [(level.owner, level.at, level.left, level.amount) for level in run.levels]
    assert levels == [
        ("project", 0.0, 100, 100), ("m", 0.0, 10, 10),
        ("project", 5.0, 49, 50), ("m", 5.0, pytest.approx(9 + 5 / 6), 10),
    ]  # fmt: skip
