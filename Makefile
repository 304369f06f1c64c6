PYTHON ?= python3
BIN := .venv/bin
# `python` in MLproject's commands is then the one of .venv.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Where this is set every process would compile all that it imports, as the installation does not.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install run test test-all lint docs evidence

install: .venv/.run

# One thread: the demo's models are too small to gain from a second one.
run: .venv/.run
	$(BIN)/mlflow run . --env-manager local --experiment-name mkd -P threads=1

PYTEST := $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# Without the slow tests, such as servers that restart, searches on Spark and the pages' commands: .ci/run runs them too.
test: .venv/.test
	$(PYTEST) -m "not slow"

test-all: .venv/.test
	$(PYTEST)

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Into site/, without the network: fonts, scripts and styles come with the theme. A broken link or reference is an error
# (not with --quiet, which hides warnings from --strict too).
docs: export NO_MKDOCS_2_WARNING := 1
docs: .venv/.docs
	$(BIN)/mkdocs build --strict

# The measurements of docs/results/claims.md: hours, and the folders that tests/bench/evidence.sh names.
evidence: .venv/.test
	tests/bench/evidence.sh

# Made anew when a pin changes, so that nothing stays behind that is no longer pinned.
.venv/.new: requirements.txt
	$(PYTHON) -m venv --clear .venv
	touch $@

# Not compiled: of all these modules few are ever imported, and Python compiles those by itself.
.venv/.run: .venv/.new pyproject.toml
	$(BIN)/python -m pip install --no-compile -r requirements.txt
	touch $@

.venv/.test: .venv/.run
	grep -v '^-e' requirements.txt > .venv/constraints.txt
	$(BIN)/python -m pip install --no-compile -c .venv/constraints.txt -e ".[test]"
	touch $@

.venv/.docs: .venv/.run
	grep -v '^-e' requirements.txt > .venv/constraints.txt
	$(BIN)/python -m pip install --no-compile -c .venv/constraints.txt -e ".[docs]"
	touch $@
