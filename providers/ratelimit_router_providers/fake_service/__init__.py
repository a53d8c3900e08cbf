"""A loopback service that speaks Gemini's wire format and OpenAI's, enforces quotas, and goes wrong on demand.

A simulation: no model answers, and every answer says so.

```python
async with FakeService(ServiceConfig.of(FakeModel(id="gemini-3.5-flash"))) as service:
    client = genai.Client(api_key="any", http_options=types.HttpOptions(base_url=service.url))
```
"""

from ratelimit_router_providers.fake_service.config import FakeModel, Latency, QuotaRule, ServiceConfig
from ratelimit_router_providers.fake_service.config_file import load_config
from ratelimit_router_providers.fake_service.faults import FAULTS, FaultRule
from ratelimit_router_providers.fake_service.journal import Record, Summary
from ratelimit_router_providers.fake_service.server import FakeService

__all__ = [
    "FAULTS",
    "FakeModel",
    "FakeService",
    "FaultRule",
    "Latency",
    "QuotaRule",
    "Record",
    "ServiceConfig",
    "Summary",
    "load_config",
]
