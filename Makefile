# make run    install into .venv and start the demo    (ARGS="--no-outages" passes on)
# make test   install what the tests need and run all  (ARGS="-k failover" passes on)
# make check  format, lint, types, import floors, words of a kind of chain
# make exam   outages under load, and a table of it    (ARGS="rolling liars", ARGS=--short)
# make bench  CPU beside HAProxy, latency, memory      (ARGS="--quick" passes on)
# make test-busy: the tests ten times, beside four busy loops / make format / make clean
#
# Needs make and Python 3.11 or newer; PYTHON=python3.12 chooses one.

VENV := .venv
BIN := $(VENV)/bin
NODE := tests/clients/node_modules
METAMASK := tests/clients/metamask/node_modules
ARGS ?=
# Programs that tests start again and again are compiled once.
unexport PYTHONDONTWRITEBYTECODE

# 3.11 first: it is the fastest one measured (3.12 cost a quarter more CPU per request).
PYTHONS := $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python

# Registries and networks fail now and then: pip tries each request again, and we try pip again.
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --retries 5 --timeout 30
# No lock file (it would record a registry); the date keeps installs alike.
NPM := npm install --no-package-lock --no-audit --no-fund --loglevel=error --fetch-retries=5 --before=2026-09-15
define thrice
for turn in 1 2 3; do \
	if $(1); then exit 0; fi; \
	echo "That did not work (try $$turn of 3)." >&2; sleep $$((turn * 3)); \
done; exit 1
endef

.PHONY: help run install test test-busy check format exam bench clean clients
.DEFAULT_GOAL := help

help:
	@sed -n '/^# make/s/^# //p' Makefile

run: $(VENV)/.installed
	@exec $(BIN)/rpcproxy demo $(ARGS)

install: $(VENV)/.installed

# What waits leaves the processor to others: twice as many files at once as a small machine has cores.
test: $(VENV)/.installed-dev clients
	@$(BIN)/python -m pytest -n 4 --dist loadfile $(ARGS)

# The loops end with the tests, however those end; by themselves after six hours, longer than ten
# turns take. A turn without them would prove nothing.
test-busy: $(VENV)/.installed-dev clients
	@loops=; trap 'kill $$loops 2>/dev/null' EXIT; \
	trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM; \
	for loop in 1 2 3 4; do timeout 21600 sh -c 'while :; do :; done' & loops="$$loops $$!"; done; \
	for turn in 1 2 3 4 5 6 7 8 9 10; do \
		for loop in $$loops; do \
			kill -0 $$loop 2>/dev/null && continue; \
			echo "A busy loop has ended before turn $$turn: the machine is not busy." >&2; exit 2; \
		done; \
		echo "Turn $$turn of 10, beside four busy loops." >&2; \
		$(BIN)/python -m pytest -n 4 --dist loadfile -q $(ARGS) || exit 1; \
	done

exam: $(VENV)/.installed-dev clients
	@$(BIN)/python -m benchmarks.exam $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.kind_words

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) $(NODE) $(METAMASK) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first Python that is new enough and can make environments; an environment that works stays.
$(VENV)/.made:
	@if $(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		touch $@; exit 0; \
	fi; \
	lacking=; \
	for python in $(PYTHONS); do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then lacking="$$python"; continue; fi; \
		echo "Making $(VENV) with $$("$$python" -V)." >&2; \
		"$$python" -m venv --clear $(VENV) && touch $@ && exit 0; \
		lacking="$$python"; \
	done; \
	if [ -n "$$lacking" ]; then \
		echo "$$lacking cannot make an environment: its venv or ensurepip module is missing." >&2; \
		echo "On Debian and Ubuntu: apt-get install python3-venv; then run make again." >&2; \
	else \
		echo "No Python 3.11 or newer was found (looked for: $(PYTHONS))." >&2; \
		echo "Install one, or name yours: make PYTHON=/path/to/python run" >&2; \
	fi; \
	exit 1

# Installed again only when pyproject.toml has changed.
$(VENV)/.installed: pyproject.toml $(VENV)/.made
	@echo "Installing rpcproxy into $(VENV)." >&2
	@$(call thrice,$(PIP) -e .)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.made
	@echo "Installing rpcproxy and what its tests need into $(VENV)." >&2
	@$(call thrice,$(PIP) -e '.[dev]')
	@touch $@ $(VENV)/.installed

# viem, ethers, anvil and cast for the tests that use them; without npm those are skipped by name.
clients:
	@if command -v npm >/dev/null; then \
		$(MAKE) --no-print-directory $(NODE)/.installed || \
			echo "The Node clients could not be installed: their tests are skipped." >&2; \
		$(MAKE) --no-print-directory $(METAMASK)/.installed || \
			echo "MetaMask's packages could not be installed: their test is skipped." >&2; \
	else \
		echo "npm is not here: the tests with viem, ethers, anvil and cast are skipped." >&2; \
	fi

$(NODE)/.installed: tests/clients/package.json
	@echo "Installing viem, ethers, anvil and cast for the tests." >&2
	@$(call thrice,(cd tests/clients && $(NPM)))
	@touch $@

# Its packages come without those of its extension; stubs.mjs stands in for what is never called.
$(METAMASK)/.installed: tests/clients/metamask/package.json
	@echo "Installing MetaMask's packages for the tests." >&2
	@$(call thrice,(cd tests/clients/metamask && $(NPM) --before=2026-10-01 --legacy-peer-deps --ignore-scripts))
	@touch $@
