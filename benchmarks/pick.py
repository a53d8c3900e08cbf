"""`route` + `settle` beside LiteLLM's choice of a deployment (`Router.async_get_available_deployment`), same models.

Four models of 60, 120, 240 and 480 requests a minute and 100,000 tokens each; LiteLLM's in one group, ours once as a
chain and once as equals. LiteLLM only chooses, by its default and by each of its strategies that looks at quotas, load
or latency. Ours also charges four quotas a model, settles, and counts for Prometheus; its limits are a million times as
wide, so that nothing ever waits (choosing alone uses nothing up). Every round measures all of them. Printed are the
medians of nanoseconds, and of ours over theirs round by round. Needs `litellm`: see requirements-peers.txt.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry

from ratelimit_router import Limits, Model, Router, Tier
from ratelimit_router.observers.prometheus import PrometheusMetrics

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it would ask the network for prices

RATES = {"a": 60, "b": 120, "c": 240, "d": 480}
STRATEGIES = ("simple-shuffle", "least-busy", "usage-based-routing-v2", "latency-based-routing")
Case = Callable[[int], Awaitable[None]]


def ours(*chain: str | tuple[str, ...]) -> Case:
    """A tier of these steps: in a chain the first that is free is chosen, of equals the one with the most headroom."""
    models = [
        Model(name, limits=Limits(rpm=rate * 1e6, tpm=1e11, rpd=1e11, concurrency=10_000))
        for name, rate in RATES.items()
    ]
    router = Router(models=models, tiers=[Tier("hot", chain)], slow_start=None)  # the first ten seconds are over
    PrometheusMetrics(router, registry=CollectorRegistry())

    async def route(times: int) -> None:
        for _ in range(times):
            lease = await router.route("hot", tokens=1000)
            lease.settle(input_tokens=900, output_tokens=100)

    return route


def litellm(strategy: str) -> Case:
    """The same four as one model group."""
    import litellm

    litellm.suppress_debug_info = True
    deployments = [
        {
            "model_name": "hot",
            "litellm_params": {"model": f"openai/{name}", "api_key": "none", "rpm": rate, "tpm": 100_000},
            "model_info": {"id": name},
        }
        for name, rate in RATES.items()
    ]
    router = litellm.Router(model_list=deployments, routing_strategy=strategy)
    messages = [{"role": "user", "content": "hello"}]

    async def pick(times: int) -> None:
        for _ in range(times):
            await router.async_get_available_deployment(model="hot", request_kwargs={}, messages=messages)

    return pick


async def measure(case: Case, times: int) -> float:
    """Nanoseconds for one."""
    start = time.perf_counter()
    await case(times)
    return (time.perf_counter() - start) / times * 1e9


async def main(rounds: int, times: int) -> dict[str, dict[str, float]]:
    """For each case the median of its nanoseconds, and of our two over it."""
    cases = {"router, chain": ours(*RATES), "router, equals": ours(tuple(RATES))}
    cases |= {f"litellm, {strategy}": litellm(strategy) for strategy in STRATEGIES}
    for case in cases.values():
        await measure(case, times)
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            found[name].append(await measure(case, times))

    def over(mine: str, name: str) -> float:
        return round(statistics.median(a / b for a, b in zip(found[mine], found[name], strict=True)), 4)

    return {
        name: {
            "ns": round(statistics.median(values)),
            "chain_over_this": over("router, chain", name),
            "equals_over_this": over("router, equals", name),
        }
        for name, values in found.items()
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--times", type=int, default=300)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    result = asyncio.run(main(options.rounds, options.times))
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{'ns':>8} {'chain / it':>11} {'equals / it':>11}")
        for name, row in result.items():
            print(f"{row['ns']:>8} {row['chain_over_this']:>11.4f} {row['equals_over_this']:>11.4f}  {name}")
