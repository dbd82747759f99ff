# Everything runs in .venv, which is made when it is missing or pyproject.toml changed.
# Needs git, make, Python 3.11 or newer with venv (Debian: python3-venv), 64-bit Linux.

PYTHON ?= python3
PORT   ?= 8080
DATA   ?= ./demo-data
CONFIG ?=
SECONDS ?= $(if $(filter bench,$(MAKECMDGOALS)),2,1800)
ROUNDS ?= 3
SEED   ?= 1
OPTIONS ?=
URL    ?= ws://127.0.0.1:$(PORT)/link
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip -qq --disable-pip-version-check

# program:Debian package
TOOLS  := mosquitto:mosquitto mosquitto_sub:mosquitto-clients chromium:chromium \
          ip:iproute2 strace:strace systemd-analyze:systemd curl:curl \
          nginx:nginx-light caddy:caddy haproxy:haproxy node:nodejs npm:npm
PEERS  := cc:gcc g++:g++ make:make node:nodejs npm:npm /usr/include/node/node.h:libnode-dev \
          nginx:nginx /usr/lib/nginx/modules/ngx_nchan_module.so:libnginx-mod-nchan \
          mosquitto:mosquitto mosquitto_sub:mosquitto-clients curl:curl taskset:util-linux
# Event-stream clients and an accessibility checker that are not ours, pinned by a package-lock.json.
NODE  := tests/sse_conformance/node tests/browser/node

.DEFAULT_GOAL := help
.PHONY: help demo run simulate check test soak bench bench-check conformance tools debian clean

help: ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
	@echo "Variables: PORT=$(PORT) DATA=$(DATA) CONFIG=$(CONFIG) PYTHON=$(PYTHON)"

demo: $(VENV)/.demo ## gateway, simulated devices and a broker, with a live page on PORT
	@exec $(BIN)/gateway demo --port $(PORT) --data $(DATA)

run: $(VENV)/.demo ## the gateway alone, with CONFIG=FILE, ./gateway.toml or defaults
	@exec $(BIN)/gateway run $(if $(CONFIG),--config $(CONFIG))

simulate: $(VENV)/.demo ## a dozen simulated devices for a gateway that runs, at URL
	@exec $(BIN)/simulate fleet --url $(URL) --devices 12 --seed 1

check: $(VENV)/.test ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict

test: tools $(VENV)/.test ## all tests (as root, installs the Debian packages that they need)
	$(BIN)/python -m pytest

soak: tools $(VENV)/.test ## the long fault campaign, SECONDS=1800 SEED=1
	@exec $(BIN)/python -m tests.faults.soak --seconds $(SECONDS) --seed $(SEED)

tools: debian
	@for at in $(NODE); do \
	  cmp -s $$at/package-lock.json $$at/node_modules/.installed || { \
	    echo "Installing what $$at lists …"; \
	    npm ci --prefix $$at --silent --no-audit --no-fund && \
	    cp $$at/package-lock.json $$at/node_modules/.installed || exit 1; }; \
	done

bench: TOOLS := $(PEERS)
bench: debian $(VENV)/.bench ## beside its peers: docs/performance.md, ROUNDS=3 SECONDS=2 FULL=1
	@exec $(BIN)/python -m bench --rounds $(ROUNDS) --seconds $(SECONDS) $(if $(FULL),--full) \
	  --page docs/performance.md

bench-check: $(VENV)/.test ## that a message costs no more work than it did (no clock, seconds)
	@exec $(BIN)/python -m bench.count

conformance: TOOLS := node:nodejs npm:npm
conformance: NODE := tests/sse_conformance/node
conformance: tools $(VENV)/.test ## an event stream against 44 cases: OPTIONS="--url http://host/events …", or our own
	@exec $(BIN)/python -m pytest tests/sse_conformance $(if $(OPTIONS),-n 0 $(OPTIONS))

debian:
	@missing=""; \
	for pair in $(TOOLS); do \
	  PATH="$$PATH:/usr/sbin" command -v "$${pair%%:*}" >/dev/null || [ -e "$${pair%%:*}" ] \
	    || missing="$$missing $${pair##*:}"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" != 0 ]; then \
	  echo "error: Debian packages are missing. Install them with:"; \
	  echo "    sudo apt-get install --no-install-recommends$$missing"; \
	  exit 1; \
	fi; \
	echo "Installing Debian packages:$$missing"; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq && apt-get install -qq -y --no-install-recommends $$missing >/dev/null

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: $(PYTHON) was not found. Install it with: sudo apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $$($(PYTHON) --version) is too old: 3.11 or newer is needed." \
	       "Name another one with: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: Python's venv is missing. Install it with: sudo apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) …"
	@$(PIP) install -e '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV), with the tools for tests …"
	@$(PIP) install -e '.[demo,test]'
	@touch $@ $(VENV)/.demo

$(VENV)/.bench: pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV), with what the benchmark needs …"
	@$(PIP) install -e '.[demo,test,bench]'
	@touch $@ $(VENV)/.test $(VENV)/.demo

clean: ## remove .venv and what tools and tests left (demo data stays)
	rm -rf $(VENV) $(addsuffix /node_modules,$(NODE)) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find gateway simulators tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
