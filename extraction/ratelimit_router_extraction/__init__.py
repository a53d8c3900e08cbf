"""Articles in, entities out: priority, tiers, batches, calls through the router, one record an article."""
