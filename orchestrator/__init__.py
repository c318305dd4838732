"""The orchestration engine: the pure core, the roles that run it, the command line."""
