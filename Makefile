# `make` or `make help` lists what there is. Every target makes .venv by itself when it has to.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test quick check fix generated compiled bench quality soak mutants mutmut fuzz docs lock clean

BIN := .venv/bin
UV := .cache/uv/bin/uv
ARGS ?=
# Tests start Python hundreds of times: it keeps what it compiled, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

help: ## what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: .venv/.stamp ## real baskets through the whole system on embedded servers; e.g. make demo ARGS="--orders 2000 --exit"
	@$(BIN)/headrace demo $(ARGS)

test: .venv/.stamp ## all tests, on real servers; installs what is missing. ARGS go to pytest
	@tools/install-test-servers
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadscope $(ARGS)

quick: .venv/.stamp ## the tests that take no server and little time. ARGS go to pytest
	@$(BIN)/python -m pytest --quick --numprocesses 2 --dist loadscope $(ARGS)

check: .venv/.stamp generated ## what CI checks beside the tests: format, lint, types, import rules, generated files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fix: .venv/.stamp ## format, and mend what ruff can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

generated: .venv/.stamp ## whether the generated files are what the code would write
	@$(BIN)/python -m schemas.generate --check
	@$(BIN)/python tools/reference.py --check

quality: .venv/.stamp ## what decisions cost above the least possible in hindsight; no server
	@$(BIN)/python -m bench.quality $(ARGS)

compiled: .venv/.stamp ## the packages with their core compiled, in build/compiled
	@$(BIN)/python tools/compiled.py

bench: .venv/.stamp ## speed and size on real Kafka and PostgreSQL, the core compiled (ARGS=--interpreted: not)
	@tools/install-test-servers
	@$(BIN)/python -m bench $(ARGS)

soak: .venv/.stamp ## for long: the protocol's model at its full size, simulated clusters, real servers killed 100 times
	@tools/install-test-servers
	@$(BIN)/python -m tests.model --full
	@$(BIN)/python -m tests.simulation 0 --soak $(or $(ARGS),--events 10000000)
	@$(BIN)/python -m tests.simulation 0 --sweeps
	@$(BIN)/python -m tests.intake.hostile --count 1000000
	@$(BIN)/python -m tests.contention.last_units --attempts 1000000
	@HEADRACE_TEST_LONG=1 HEADRACE_TEST_KAFKA=real $(BIN)/python -m pytest tests/kafka/test_cluster.py tests/kafka/test_outages.py tests/kafka/test_hung_broker.py tests/kafka/test_kpis_killed.py
	@HEADRACE_TEST_LONG=1 HEADRACE_TEST_KAFKA=real HEADRACE_TEST_BACKLOG=2000000 $(BIN)/python -m pytest tests/kafka/test_backlog.py
	@$(BIN)/python -m tests.kafka.storm --kills 100

mutants: .venv/.stamp ## guards taken out one by one: each must fail the test that it names; e.g. ARGS=nonce
	@tools/install-test-servers
	@$(BIN)/python -m tests.mutants $(ARGS)

mutmut: .venv/.stamp .cache/mutmut ## how many mutants of core and runtime are noticed: a sample by ARGS="--sample 150", a file by ARGS=orchestrator/core/ledger.py; all take a day
	@$(BIN)/python -m tests.mutants.score $(ARGS)

fuzz: .venv/.stamp .cache/atheris ## the codec under a coverage-guided fuzzer, for a minute; ARGS go to libFuzzer
	@PYTHONPATH=.cache/atheris $(BIN)/python -m tests.fuzz.codec $(or $(ARGS),-max_total_time=60 -max_len=4096)

docs: .venv/.stamp ## write the generated files: schemas, AsyncAPI, reference pages
	@$(BIN)/python -m schemas.generate
	@$(BIN)/python tools/reference.py

lock: $(UV) ## pin the dependencies anew (keeps what still fits; ARGS=--upgrade takes the newest)
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --all-extras $(ARGS) pyproject.toml -o requirements.lock
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra build --extra kpis -c requirements.lock pyproject.toml -o requirements-runtime.lock

clean: ## remove what was made here, the virtual environment and the caches too
	@rm -rf .venv .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.stamp: requirements.lock pyproject.toml tools/make-venv
	@tools/make-venv

.cache/mutmut: $(UV)
	@$(UV) pip install --quiet --python $(BIN)/python --target $@ mutmut==3.8.1

.cache/atheris: $(UV)
	@$(UV) pip install --quiet --python $(BIN)/python --target $@ atheris==3.0.0

$(UV):
	@python3 -m venv .cache/uv && .cache/uv/bin/pip install --quiet uv
