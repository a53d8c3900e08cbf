"""Other people's ways to bring tasks to services, as they write them, beside ours: `registry.POLICIES` has them all."""
