# From a fresh clone: make demo, make test. Both need Python 3.11, Java 17 and Maven; a missing Java or Maven is installed on Debian and Ubuntu.
.DEFAULT_GOAL := help
.PHONY: help install prerequisites demo test bench lint constraints clean
SHELL := /bin/bash
BIN := .venv/bin
UV := uv==0.13.9

# uv does not read pip's settings; what the environment gives pip holds for uv too.
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
export UV_INDEX ?= $(PIP_EXTRA_INDEX_URL)
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export SSL_CERT_FILE ?= $(PIP_CERT)
ifeq ($(UV_DEFAULT_INDEX),)
unexport UV_DEFAULT_INDEX
endif
ifeq ($(UV_INDEX),)
unexport UV_INDEX
endif
ifeq ($(UV_FIND_LINKS),)
unexport UV_FIND_LINKS
endif
ifeq ($(SSL_CERT_FILE),)
unexport SSL_CERT_FILE
endif

# Bytecode is kept beside the packages, whatever the environment says: else each process of the demo and of the tests compiles thousands of modules.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/pycache

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 14

install: prerequisites .venv/.installed ## .venv with everything the demo and the tests need

prerequisites:
	@deploy/local/prerequisites.sh

.venv/.installed: pyproject.toml constraints.txt
	python3.11 -m venv .venv || { echo "no virtual environment: install python3.11 with its venv module (Debian, Ubuntu: apt-get install python3.11-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	$(BIN)/uv pip install --python $(BIN)/python -c constraints.txt -b constraints.txt -e '.[dev]'
	@touch $@

.venv/.installed-bench: .venv/.installed
	$(BIN)/uv pip install --python $(BIN)/python -c constraints.txt -b constraints.txt -e '.[dev,bench]'
	@touch $@

demo: install ## one note and one click, end to end; KEEP=1 leaves the stack up
	$(BIN)/tagstream demo $(if $(KEEP),--keep)

lint: install ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## the whole suite against the real servers, in three processes
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

bench: install .venv/.installed-bench ## what is timed, into benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks

constraints: install ## pins what pyproject.toml gained
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-header --no-annotate -q -o constraints.txt

clean: ## stops the stack of this directory, removes its data, .venv and caches
	@if [ -x $(BIN)/tagstream ]; then $(BIN)/tagstream dev down --data .tagstream; fi
	rm -rf .venv .tagstream .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info build dist
