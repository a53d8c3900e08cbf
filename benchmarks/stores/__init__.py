"""What it costs that several processes share quotas: on a Valkey server, and in an SQLite file; beside its peers."""
