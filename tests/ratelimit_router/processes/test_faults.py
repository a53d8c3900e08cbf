"""Real processes share one quota while something goes wrong: never too much is called, by the judge's exact account.

How much of the possible is used depends on the machine; here it is only asked that work goes on. The figures are those
of the campaign: `python -m tests.ratelimit_router.processes`.
"""

from collections.abc import Iterator

import pytest

from tests.ratelimit_router.processes.crew import Nursery, nursery
from tests.ratelimit_router.processes.judge import Verdict
from tests.ratelimit_router.processes.scenarios import (
    STORES,
    Scenario,
    clock_behind,
    failover,
    in_flight_for_good,
    killed_server,
    killed_server_with_log,
    killed_workers,
    no_fault,
    one_chain,
    slow_store,
    stopped_server,
    stopped_workers,
    two_configurations,
    wrong_clock,
)

WORKERS = 3


@pytest.fixture(scope="module")
def workers() -> Iterator[Nursery]:
    """Where workers come from."""
    with nursery() as one:
        yield one


def allowed(verdict: Verdict, least: float = 0.0) -> None:
    """Nothing was too much or too early, and at least so much of the possible was used."""
    assert (verdict.over, verdict.early) == (dict.fromkeys(verdict.over, 0), 0)
    assert verdict.used >= least, verdict


@pytest.mark.parametrize("store", STORES)
def test_processes_use_what_there_is(store: str, workers: Nursery) -> None:
    """With no fault most of what is possible is used, in every kind of quota."""
    verdict = no_fault(store, workers, WORKERS, 2.1)
    allowed(verdict, 0.5)
    assert verdict.most["slots.concurrency"] == 3
    assert not verdict.errors


@pytest.mark.parametrize("store", ["sqlite", "valkey"])
def test_workers_are_killed_and_replaced(store: str, workers: Nursery) -> None:
    """kill -9 at any moment: what they spent stays spent, what they had in flight comes back."""
    allowed(killed_workers(store, workers, WORKERS, 2.1), 0.3)


@pytest.mark.parametrize("store", ["sqlite", "valkey"])
def test_slots_of_the_dead_come_back(store: str, workers: Nursery) -> None:
    """Workers killed -9 while each holds a slot: all of them can be had again, none before a lease has expired."""
    had, again, early = in_flight_for_good(store, workers, 12, 1.0)
    assert had == 12
    assert len(again) == 12
    assert early == 0


@pytest.mark.parametrize("store", [one for one in STORES if one != "sqlite"])
def test_the_server_is_killed_and_keeps_a_log(store: str, workers: Nursery) -> None:
    """kill -9 and a restart, three times: the state is trusted, and right."""
    allowed(killed_server_with_log(store, workers, WORKERS, 2.4), 0.2)


@pytest.mark.parametrize(
    "scenario",
    [killed_server, stopped_server, wrong_clock, clock_behind, slow_store],
    ids=lambda scenario: scenario.__name__,
)
def test_the_server_or_its_clients_misbehave(scenario: Scenario, workers: Nursery) -> None:
    """A restart without data, a server that stands still or is slow, clients with a wrong clock."""
    allowed(scenario("valkey", workers, WORKERS, 4.1 if scenario is slow_store else 2.1))


def test_a_replica_takes_over(workers: Nursery) -> None:
    """What the old server had granted last, and the replica never heard of, is restated before anybody is served."""
    allowed(failover("valkey", workers, WORKERS, 4.25))


@pytest.mark.parametrize("store", ["sqlite", "valkey"])
def test_workers_stand_still(store: str, workers: Nursery) -> None:
    """A worker that is stopped and continued, also for longer than its leases last."""
    allowed(stopped_workers(store, workers, WORKERS, 2.4))


@pytest.mark.parametrize(("store", "scenario"), [("sqlite", two_configurations), ("valkey", one_chain)])
def test_chains_and_limits_differ(store: str, scenario: Scenario, workers: Nursery) -> None:
    """Two configurations on one store keep to the larger; calls in flight and amounts may be steps of one chain."""
    allowed(scenario(store, workers, WORKERS, 2.1))
