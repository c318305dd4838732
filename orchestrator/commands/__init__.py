"""One module a command of `headrace`; `orchestrator.cli` puts them together."""
