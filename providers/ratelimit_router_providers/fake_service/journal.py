"""What the service admitted and refused: one record a request, and a summary. No key, no prompt, no answer."""

from collections import Counter, deque
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["GENERATING", "Journal", "ModelSummary", "Record", "Summary"]


GENERATING = frozenset({"generateContent", "streamGenerateContent", "chat.completions"})
"""Methods that count; countTokens and the list of models do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One request, when its answer had been sent.

    `at`: seconds since the service started, on arrival. `key`: number of the key, in order of first use (0: none).
    `status`: HTTP status. `admitted`: whether it passed the quotas. `refused`: names of the quotas in its way. `hint`:
    seconds that the refusal told the client to wait. `latency`: seconds until the answer was complete. `in_flight`:
    admitted calls to the model with this key while it ran, itself included.
    """

    at: float
    model: str
    key: int
    method: str
    status: int
    admitted: bool = False
    refused: tuple[str, ...] = ()
    fault: str | None = None
    hint: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    latency: float = 0.0
    in_flight: int = 0


@dataclass(slots=True, kw_only=True)
class ModelSummary:
    """Counts of one model. `refused`: by quota. `faults`: by name. `peak_in_flight`: most admitted calls at once."""

    requests: int = 0
    admitted: int = 0
    rejected: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    peak_in_flight: int = 0
    latency: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, "refused": dict(self.refused), "faults": dict(self.faults)}

    def add(self, record: Record) -> None:
        """Count one more."""
        self.requests += 1
        self.admitted += record.admitted
        self.rejected += record.status == 429
        self.refused.update(record.refused)
        if record.fault is not None:
            self.faults[record.fault] += 1
        self.input_tokens += record.input_tokens if record.admitted else 0
        self.output_tokens += record.output_tokens if record.admitted else 0
        self.peak_in_flight = max(self.peak_in_flight, record.in_flight)
        self.latency += record.latency if record.admitted else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts of the whole service. `rejected` counts answers with status 429, whatever their cause."""

    seconds: float
    models: dict[str, ModelSummary]

    @property
    def requests(self) -> int:
        """Generating requests, refused ones included."""
        return sum(model.requests for model in self.models.values())

    @property
    def admitted(self) -> int:
        """Those that passed the quotas."""
        return sum(model.admitted for model in self.models.values())

    @property
    def rejected(self) -> int:
        """Those answered with 429."""
        return sum(model.rejected for model in self.models.values())

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        totals = {"requests": self.requests, "admitted": self.admitted, "rejected": self.rejected}
        models = {name: model.as_dict() for name, model in self.models.items()}
        return {"simulated": True, "seconds": round(self.seconds, 3), **totals, "models": models}


class Journal:
    """The last records, and counts over all of them."""

    def __init__(self, size: int):
        self._records: deque[Record] = deque(maxlen=size)
        self._models: dict[str, ModelSummary] = {}

    def add(self, record: Record) -> None:
        """Write one down. Calls that generate nothing (countTokens, models) are recorded but not counted."""
        self._records.append(record)
        if record.method in GENERATING:
            self._models.setdefault(record.model, ModelSummary()).add(record)

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._records))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        return self._records[index]

    def summary(self, seconds: float) -> Summary:
        """The counts after so many seconds."""
        return Summary(seconds=seconds, models=deepcopy(self._models))
