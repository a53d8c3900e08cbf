"""Where the state of quotas lives."""

from ratelimit_router.stores.memory import MemoryStore

__all__ = ["MemoryStore"]
