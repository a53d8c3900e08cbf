"""What is shown: while it runs, and at the end."""

import asyncio
import io
import json
import math

from rich.console import Console

from ratelimit_router.errors import RateLimited
from ratelimit_router.limits import Limit, Limits
from ratelimit_router.outcomes import Kind
from ratelimit_router.simulation.virtual_time import run
from ratelimit_router_extraction.calls import Call
from ratelimit_router_extraction.entities import Entity, Extraction
from ratelimit_router_extraction.progress import Progress, eta, status_line, status_panel
from ratelimit_router_extraction.records import Failure, Result
from ratelimit_router_extraction.summary import SHOWN, headline, result_line, summary_table
from ratelimit_router_extraction.tally import Tally
from tests.extraction.conftest import MemoryProvider, job, router_for


def call(**changes: object) -> Call:
    return Call(**{"tier": "hot", "model": "pro", "depth": 0, "waited": 0.0, "took": 1.0, **changes})  # type: ignore[arg-type]


def entity(text: str) -> Entity:
    return Entity(type="place", text=text, count=1, offset=0)


def shown(renderable: object, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def sample() -> Tally:
    tally = Tally(total=8, held=2, bad_rows=1)
    tally.call(call(input_tokens=1000, output_tokens=10))
    tally.call(call(waited=3.0, kind=Kind.RATE_LIMITED))
    tally.call(call(model="lite", depth=1, waited=1.0, input_tokens=500))
    tally.call(call(tier="bulk", model="lite", kind=Kind.OVERLOADED))
    tally.call(call(tier="bulk", model="lite", kind=Kind.TIMEOUT))
    tally.result(Result(job=job("a"), extraction=Extraction(entities=(entity("Rome"),), unfound=2)))
    tally.result(Result(job=job("b", "bulk"), failure=Failure(kind="ProviderTimeout", message="late")))
    return tally


def test_status_tells_counts_models_and_time_to_go() -> None:
    """In flight, the state with the seconds of a cooldown, the quota left; plain and live alike."""

    async def main() -> tuple[str, str]:
        limits = {"pro": Limits(rpm=Limit(4, per=60)), "lite": Limits()}
        async with router_for(MemoryProvider(), limits) as router:
            router.route_nowait("hot")
            router.route_nowait("hot").fail(TimeoutError())
            router.route_nowait("hot").fail(RateLimited(retry_after=30.0, quota="rpm"))
            snapshot = router.snapshot()
            return status_line(sample(), snapshot, 10.0), shown(status_panel(sample(), snapshot, 10.0))

    line, panel = run(main())
    for text in (line, panel):
        assert "2 of 8 articles, 1 failed" in text
        assert "about 30 s to go" in text
        assert "rate_limited" in text
        assert "/2 rpm" in text  # as many as were admitted when the service refused
        assert "no limits" in text
    assert "pro 1 in flight, cooling 3" in line
    assert "\n" not in line


def test_time_to_go_needs_a_first_article() -> None:
    """Before it, nothing is claimed."""
    assert eta(Tally(total=5), 10.0) is None
    assert eta(sample(), 10.0) == 30.0
    assert not math.isnan(eta(Tally(total=0, done=1), 1.0) or 0.0)


def test_plain_line_every_few_seconds_when_not_a_terminal() -> None:
    """Twelve seconds give two lines; quiet gives none."""

    async def main(quiet: bool) -> str:
        console = Console(file=io.StringIO(), width=140)
        async with router_for(MemoryProvider()) as router:
            clock = asyncio.get_running_loop().time
            async with Progress(console, sample(), router.snapshot, clock, quiet=quiet).running():
                await asyncio.sleep(12)
        return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]

    assert run(main(False)).count("2 of 8 articles") == 2
    assert run(main(True)) == ""


def test_live_display_on_a_terminal() -> None:
    """It is drawn again as the run goes on, and gone at the end."""

    async def main() -> str:
        console = Console(file=io.StringIO(), width=140, force_terminal=True)
        async with router_for(MemoryProvider()) as router:
            clock = asyncio.get_running_loop().time
            async with Progress(console, sample(), router.snapshot, clock).running():
                await asyncio.sleep(1.1)
        return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]

    assert run(main()).count("2 of 8 articles") >= 4


def test_line_of_an_article_shows_entities_and_no_control_characters() -> None:
    """What an article or a model wrote cannot move the cursor."""
    entities = tuple(entity(f"Town\x1b[2J{number}") for number in range(SHOWN + 3))
    line = result_line(Result(job=job("a"), extraction=Extraction(entities=entities), model="pro"))
    assert "a [hot -> pro] Town" in line
    assert "and 3 more" in line
    assert "\x1b" not in line
    failed = result_line(Result(job=job("a"), failure=Failure(kind="ProviderTimeout", message="late")))
    assert failed == "x a [hot -> none] ProviderTimeout: late"


def test_summary_has_a_row_per_tier_and_model_and_the_sum() -> None:
    """Calls, fallbacks, 429s, 503s, waits and tokens."""
    lines = shown(summary_table(sample(), ["hot", "bulk"]), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    rows = [line.split() for line in lines]
    assert [row for row in rows if row and row[0] in ("hot", "bulk", "all")] == [
        ["hot", "pro", "2", "0", "1", "0", "0", "1", "3.00", "3.00", "1,000", "10"],
        ["hot", "lite", "1", "1", "0", "0", "0", "1", "1.00", "1.00", "500", "0"],
        ["bulk", "lite", "2", "0", "0", "1", "1", "0", "0.00", "0.00", "0", "0"],
        ["all", "5", "1", "1", "1", "1", "2", "2.00", "3.00", "1,500", "10"],
    ]


def test_headline_and_json_tell_the_same() -> None:
    """For people and for programs."""
    told = headline(sample(), 12.34)
    assert told == (
        "1 of 8 articles done, 1 failed (1 ProviderTimeout), 2 held already, 1 bad rows skipped; "
        "1 entities (2 more were named that are not in the text); 12.3 s"
    )
    report = json.loads(json.dumps(sample().as_dict()))
    assert (report["articles"], report["done"], report["failed"], report["left"]) == (8, 1, 1, 6)
    assert report["tiers"] == {"hot": 1, "bulk": 1}
    assert report["all_calls"]["waited"] == 4.0
    assert [(row["tier"], row["model"]) for row in report["calls"]] == [
        ("bulk", "lite"),
        ("hot", "lite"),
        ("hot", "pro"),
    ]
