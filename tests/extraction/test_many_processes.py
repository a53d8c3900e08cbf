"""Several extractions at once on one account: a store keeps them to its quotas, and every article is done once."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratelimit_router_providers.fake_service import FakeModel, FakeService, Latency, QuotaRule, ServiceConfig
from tests.ratelimit_router.stores.servers import Server

PROCESSES, EACH, PLACES = 4, 5, 3
CONFIG = """
[models.m]
provider = "gemini"
id = "flash"
base_url = "{url}"
key = "env:FAKE_KEY"
limits = {{ rpd = {day}, concurrency = {places} }}
[tiers.t]
chain = ["m"]
"""


@pytest.fixture(params=["sqlite", "valkey"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty store. A server that has just started has calls in flight wait for a while."""
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path / 'state.db'}"
        return
    server = Server(request.param)
    try:
        yield f"redis://127.0.0.1:{server.port}"
    finally:
        server.close()


def extraction(folder: Path, number: int, articles: range, store: str) -> "subprocess.Popen[str]":
    """One process of its own, with articles of its own."""
    text = "".join(
        json.dumps({"id": f"a{one}", "title": "Ada", "text": f"Ada Lovelace met {one} people in London."}) + "\n"
        for one in articles
    )
    (folder / f"articles{number}.jsonl").write_text(text)
    words = [
        *(sys.executable, "-c", "from ratelimit_router.cli import main; main()", "extract"),
        *(f"articles{number}.jsonl", "--config", "router.toml", "--store", store, "--stagger", "0"),
        *("--output", f"entities{number}.jsonl", "--quiet", "--json", "--max-wait", "60"),
    ]
    environ = os.environ | {"FAKE_KEY": "any"}
    return subprocess.Popen(words, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_four_processes_keep_to_one_quota_and_do_every_article_once(tmp_path: Path, store: str) -> None:
    """The day's quota is just enough for all, three calls may be in flight: the service refuses none of them."""
    whole = PROCESSES * EACH
    rules = (QuotaRule(name="rpd", amount=whole),)
    service = ServiceConfig.of(FakeModel(id="flash", quotas=rules, concurrency=PLACES, latency=Latency(median=0.05)))
    with FakeService.in_thread(service) as fake:
        (tmp_path / "router.toml").write_text(CONFIG.format(url=fake.url, day=whole, places=PLACES))
        running = [
            extraction(tmp_path, number, range(number * EACH, (number + 1) * EACH), store)
            for number in range(PROCESSES)
        ]
        told = [process.communicate(timeout=90) for process in running]
        assert [process.returncode for process in running] == [0] * PROCESSES, told
        summary = fake.summary()
        assert (summary.admitted, summary.rejected) == (whole, 0)
        assert max(model.peak_in_flight for model in summary.models.values()) <= PLACES
    records = [
        json.loads(line)
        for number in range(PROCESSES)
        for line in (tmp_path / f"entities{number}.jsonl").read_text().splitlines()
    ]
    assert sorted(record["id"] for record in records) == sorted(f"a{one}" for one in range(whole))
    assert all(record["entities"] for record in records)
