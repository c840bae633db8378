# Every command goes through uv. On a machine without it, the first target that needs
# uv makes a private environment in .tools/ and installs the pinned version there.
.DEFAULT_GOAL := help
UV_VERSION := 0.13.9
PYTHON ?= python3
SYSTEM_UV := $(shell command -v uv 2>/dev/null)
UV := $(if $(SYSTEM_UV),$(SYSTEM_UV),.tools/bin/uv)
# The interpreter that is there is used; none is fetched. Where it is a later one than
# .python-version names, uv has to be told.
export UV_PYTHON_DOWNLOADS := never
ifeq ($(shell command -v python3.11 2>/dev/null),)
export UV_PYTHON ?= $(PYTHON)
endif
# The machine's own certificates: behind a proxy that re-signs, uv's bundled ones fail.
export UV_SYSTEM_CERTS ?= 1
PACKAGES := netcore integration flowtrade
ARGS ?=

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^##@/ {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  \033[36m%-15s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Use
.PHONY: run setup
run: setup ## The main job, offline: exchange, auction, bidders and the page (ARGS="--help")
	@exec .venv/bin/flowtrade-demo $(ARGS)
setup: $(UV) ## Create .venv with every package and tool, from uv.lock
	@$(UV) sync --locked --quiet

.tools/bin/uv:
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet "uv==$(UV_VERSION)"

##@ Everyday
.PHONY: format lint types test isolate check
format: setup ## Rewrite code to the house style
	$(UV) run --no-sync ruff format .
	$(UV) run --no-sync ruff check --fix .
lint: setup ## Style, and which package may import which
	$(UV) run --no-sync ruff format --check .
	$(UV) run --no-sync ruff check .
	$(UV) run --no-sync lint-imports
types: setup ## Strict type checks
	$(UV) run --no-sync mypy
	$(UV) run --no-sync pyright
test: setup ## All tests, offline (ARGS="-k book" for some)
	$(UV) run --no-sync pytest $(ARGS)
isolate: $(PACKAGES:%=isolate-%) ## Each package's tests with only its own declared dependencies
isolate-%: $(UV)
	$(UV) run --isolated --locked --no-default-groups --group test --package $(if $(filter flowtrade,$*),$*,flowtrade-$*) --all-extras pytest tests/$*
check: lint types test ## What has to be green before a commit

##@ Measure and release
.PHONY: bench bench-netcore bench-clearing bench-service build
bench: setup ## Socket to MarketEvent, and one batch, with each stage's share
	$(UV) run --no-sync python benchmarks/thread.py $(ARGS)
bench-netcore: setup ## WebSocket and FIX beside their peers (ARGS="frames rtt --check")
	$(UV) run --no-sync --with-requirements benchmarks/netcore/peers.txt python benchmarks/netcore/run.py $(ARGS)
bench-clearing: setup ## Clearing beside Clarabel, OSQP and HiGHS (ARGS="--help")
	$(UV) run --no-sync --with clarabel --with osqp python benchmarks/clearing/run.py $(ARGS)
bench-service: setup ## The service part by part (ARGS="--help")
	$(UV) run --no-sync python benchmarks/service/run.py $(ARGS)
build: $(UV) ## Wheels and sdists of all packages into dist/
	$(UV) build --all-packages --out-dir dist
