"""Which model next, where a contestant leaves that to its user: each in turn, in proportion to its limit.

Smooth weighted round robin (as nginx has it): whoever is furthest behind its share is next.
"""

from collections.abc import Iterator, Sequence

from benchmarks.over_http.harness import Model


def weighted(models: Sequence[Model]) -> Iterator[Model]:
    """The models for ever, each as often as its requests a minute."""
    whole = sum(model.rpm for model in models)
    behind = {model.id: 0.0 for model in models}
    while True:
        for model in models:
            behind[model.id] += model.rpm
        chosen = max(models, key=lambda model: behind[model.id])
        behind[chosen.id] -= whole
        yield chosen
