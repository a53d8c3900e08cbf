"""An auditor of the router: books of its own, in which every decision is looked up at once."""

from ratelimit_router.simulation.audit.auditor import Auditor
from ratelimit_router.simulation.audit.breach import Breach, Invariant
from ratelimit_router.simulation.audit.watched import WatchedRouter

__all__ = ["Auditor", "Breach", "Invariant", "WatchedRouter"]
