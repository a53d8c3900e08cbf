"""Ready-made observers: Prometheus metrics and structlog events. Each needs the extra of its name."""
