"""The shell around the core: ports, Kafka and memory logs, intake, engine, relay, settings, metrics."""
