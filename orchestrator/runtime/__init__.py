"""The shell around the core: Kafka and memory logs, intake, engine, relay, settings, metrics."""
