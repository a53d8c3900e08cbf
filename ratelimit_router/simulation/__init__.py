"""The storm lab: the real router through hours of storm in a second, and how near it comes to what is possible.

    from ratelimit_router.simulation import POLICIES, family, fluid_bound, measure, play

    scenario = family("outage", seed=7)                      # or load_scenario("mine.toml"), or a Scenario of one's own
    run = play(scenario, POLICIES["guided"].policy, "guided")
    print(measure(run, fluid_bound(scenario)).as_dict())

| modules                                            | what they hold                               |
|----------------------------------------------------|----------------------------------------------|
| `virtual_time`                                     | an event loop whose clock jumps              |
| `scenario`, `scenario_file`, `families`, `weather` | storms as values, in files, at random        |
| `services`, `quota`, `windows`, `provider`         | the services of a storm, and how they count  |
| `lab`, `run`, `policies`, `rivals`                 | playing one, its record, and who plays       |
| `bound`, `measures`, `report`                      | what is possible, the figures, the pictures  |
| `audit`, `soak`, `shrinking`                       | the router's invariants; smaller failures    |

Each name is imported when it is first asked for; the bound, plans, some rivals and reports need the extra `[storm]`.
"""

from typing import TYPE_CHECKING

from ratelimit_router.exports import lazily

if TYPE_CHECKING:
    from ratelimit_router.simulation.bound import Bound, fluid_bound, frontier
    from ratelimit_router.simulation.families import FAMILIES, Family, family
    from ratelimit_router.simulation.lab import Client, Policy, play
    from ratelimit_router.simulation.measures import Measures, measure, summarize
    from ratelimit_router.simulation.provider import SimulatedProvider
    from ratelimit_router.simulation.quota import QuotaRule
    from ratelimit_router.simulation.rivals.registry import POLICIES, PolicyEntry
    from ratelimit_router.simulation.run import Call, Run, TaskRecord
    from ratelimit_router.simulation.scenario import (
        Account,
        Change,
        Consumer,
        Distribution,
        Load,
        Network,
        Scenario,
        Service,
        Task,
        Trouble,
    )
    from ratelimit_router.simulation.scenario_file import dump_scenario, load_scenario
    from ratelimit_router.simulation.services import Services
    from ratelimit_router.simulation.shrinking import shrink
    from ratelimit_router.simulation.virtual_time import Deadlock, VirtualTimeLoop
    from ratelimit_router.simulation.weather import random_scenario

__all__ = [
    "FAMILIES",
    "POLICIES",
    "Account",
    "Bound",
    "Call",
    "Change",
    "Client",
    "Consumer",
    "Deadlock",
    "Distribution",
    "Family",
    "Load",
    "Measures",
    "Network",
    "Policy",
    "PolicyEntry",
    "QuotaRule",
    "Run",
    "Scenario",
    "Service",
    "Services",
    "SimulatedProvider",
    "Task",
    "TaskRecord",
    "Trouble",
    "VirtualTimeLoop",
    "dump_scenario",
    "family",
    "fluid_bound",
    "frontier",
    "load_scenario",
    "measure",
    "play",
    "random_scenario",
    "shrink",
    "summarize",
]

_HOMES = {
    "bound": ("Bound", "fluid_bound", "frontier"),
    "families": ("FAMILIES", "Family", "family"),
    "lab": ("Client", "Policy", "play"),
    "measures": ("Measures", "measure", "summarize"),
    "provider": ("SimulatedProvider",),
    "quota": ("QuotaRule",),
    "rivals.registry": ("POLICIES", "PolicyEntry"),
    "run": ("Call", "Run", "TaskRecord"),
    "scenario": (
        "Account",
        "Change",
        "Consumer",
        "Distribution",
        "Load",
        "Network",
        "Scenario",
        "Service",
        "Task",
        "Trouble",
    ),
    "scenario_file": ("dump_scenario", "load_scenario"),
    "services": ("Services",),
    "shrinking": ("shrink",),
    "virtual_time": ("Deadlock", "VirtualTimeLoop"),
    "weather": ("random_scenario",),
}
"""Which module defines what."""


if not TYPE_CHECKING:  # unseen by type checkers, which would take any name for granted
    __getattr__, __dir__ = lazily(globals(), _HOMES)
