# Everything from a bare clone: Python 3.11+, git and make are all that must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The system's certificates, for networks with an authority of their own.
UV := $(BIN)/uv pip install --system-certs --quiet --python $(BIN)/python

.PHONY: demo test fast lint fmt bench soak docs clean

$(VENV)/.core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv -c constraints.txt
	$(UV) -c constraints.txt -e '.[embedded]'
	touch $@

$(VENV)/.test: $(VENV)/.core
	$(UV) -c constraints.txt -e '.[embedded,server]' --group test
	touch $@

demo: $(VENV)/.core  ## the main job, on the embedded default, ending with its result
	$(BIN)/python -m affidavit.demo

# Much of the time tests wait for processes and disks of their own; some wait together. What is killed and stopped under
# load, and has sessions that pass, comes after that, with the machine to itself.
JOBS ?= 3

test: $(VENV)/.test lint  ## everything that can run here
	$(BIN)/python -m pytest -m "not soak and not alone" -n $(JOBS) --dist loadfile
	$(BIN)/python -m pytest -m "not soak and alone"

fast: $(VENV)/.test  ## the tests that take seconds
	$(BIN)/python -m pytest -m "not soak and not slow" -q

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.test  ## the table of docs/benchmarks.md, measured on this machine
	$(BIN)/python -m bench

soak: $(VENV)/.test  ## the long forms: thousands of kills and of fuzzed inputs
	$(BIN)/python -m pytest -m soak --timeout 0

docs: $(VENV)/.core  ## regenerate docs/cli.md and docs/metrics.md
	$(BIN)/python -m affidavit.cli.reference > docs/cli.md
	$(BIN)/python -m affidavit.monitor.reference > docs/metrics.md

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
