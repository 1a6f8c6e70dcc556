# Two commands on a fresh machine: `make demo` and `make test`. Both make what they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check bench lock generate clean

demo: $(READY)
	$(BIN)/koda-daemon demo

test: $(READY)
	$(BIN)/python -m pytest $(TESTS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m koda_daemon.server.protocol.generate --check
	$(BIN)/python -m koda_daemon.ai.generate_models --check

# Figures, not verdicts: machines are noisy, so compare ratios taken in one run.
bench: $(READY)
	$(BIN)/python -m tests.bench $(BENCH)

generate: $(READY)
	$(BIN)/python -m koda_daemon.server.protocol.generate

# What is tested: the exact versions of every dependency, for all supported Pythons and systems.
lock: $(READY)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header \
	  --group dev pyproject.toml --output-file requirements.lock

$(READY): pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
