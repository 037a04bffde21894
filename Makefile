# Every target works in a fresh clone: the first one makes .venv from requirements.lock.
# PYTHON chooses the interpreter (3.11 or newer): make PYTHON=python3.12 test

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV := uv==0.13.8
PYTHON ?= $(shell for candidate in python3 python3.12 python3.11 python3.13; do \
	"$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo "$$candidate"; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test lint types migrations-check chaos bench room-bench flows grouping judgement celery-suite lock

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv from the lock file

$(STAMP): requirements.lock
	@test -n "$(PYTHON)" || { \
		echo "Celeriac needs Python 3.11 or newer; no such python3 is on the PATH." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Celeriac needs Python 3.11 or newer, and $(PYTHON) is $$("$(PYTHON)" --version 2>&1)." >&2; \
		echo "Name another one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

demo: setup ## See a run survive a killed and a frozen worker
	$(BIN)/python -m config.demo

up: setup ## Start servers, workers, beat, web and Flower; Ctrl-C stops them
	$(BIN)/python -m config.up

down: setup ## Stop the embedded servers
	$(BIN)/python -m config.substrate stop

test: lint types migrations-check ## Lint, types, migrations and the tests
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not chaos and not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

migrations-check: setup
	$(BIN)/python manage.py makemigrations --check --dry-run

chaos: setup ## Ten minutes of kills, freezes and restarts, and the slow tests
	$(BIN)/python -m pytest -m "chaos or slow"

bench: setup ## Measure against the peers
	$(BIN)/python -m benchmarks

room-bench: setup ## Time the admin's pages beside a million runs
	$(BIN)/python -m benchmarks.room

flows: setup ## Walk through the flows, one by one
	$(BIN)/python -m tests.flows

grouping: setup ## Measure how well messages are grouped
	$(BIN)/python -m benchmarks.grouping

judgement: setup ## Show by simulation what graduation's statistics promise
	$(BIN)/python -m tests.judgement

celery-suite: setup ## Celery's own integration tests on SkillTask
	$(BIN)/python -m tests.celery_suite

lock: ## Resolve requirements.lock anew, for Python 3.11 to 3.13
	"$(PYTHON)" -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check "$(UV)"
	$(VENV)-lock/bin/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
		--quiet --upgrade --output-file requirements.lock
