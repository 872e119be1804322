# Each target sets itself up: a .venv, dependencies, nothing global.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help devnet test check bench bench-attribution bench-exact sim mutants figures explore crash chaos \
	determinism determinism-arm64 format clean

help:
	@echo "make devnet            four validators on loopback, the story played against them, up until Ctrl-C"
	@echo "make devnet ARGS=--exit    the same, ending after the story (also: --json, --reset)"
	@echo "make test              the whole suite"
	@echo "make check             ruff, mypy --strict, architecture and unit tests: quick enough for every save"
	@echo "make bench             throughput and latency of a devnet under seeded transfers (ARGS=--help)"
	@echo "make bench-attribution   fidelity against other libraries, attacks against the payout (ARGS=--quick: a minute)"
	@echo "make sim SEEDS=N START=S   the simulator over N seeds (PROFILE=core|full; a failing seed is shrunk)"
	@echo "make mutants           rules taken away one at a time: how many seeds until the simulator notices"
	@echo "make figures           block interval and finality in units of the network's delay"
	@echo "make explore           every reachable state of one view, every Twins scenario, mutants (ARGS=mutants: only these)"
	@echo "make crash             kills a real node at every persist point, then cuts its power there (ARGS=--help)"
	@echo "make chaos             real nodes killed, cut off and slowed down under load, and judged (ARGS=--help)"
	@echo "make determinism       every engine's golden digests under the kernels, threads and back ends of other machines"
	@echo "make determinism-arm64 the same digests on aarch64, emulated (downloads Debian's packages into build/)"
	@echo "make bench-exact       how quick each path of an exact product is (ARGS=--share=10: on a tenth of the rows)"
	@echo "make format            ruff's fixes and its layout"
	@echo "make clean             takes away what the targets made, but not the devnet's homes"

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not there: install Python 3.11 or later, or say PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=python3.11 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[demo,dev]"
	@touch $(STAMP)

devnet: $(STAMP)
	@$(BIN)/python -m devnet $(ARGS)

bench: $(STAMP)
	@$(BIN)/python -m devnet bench $(ARGS)

bench-attribution: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[bench]"
	@$(BIN)/python -m tests.attribution.bench $(ARGS)

chaos: $(STAMP)
	@$(BIN)/python -m devnet chaos $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -n auto $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n auto -m "not slow" $(ARGS)

sim: $(STAMP)
	@$(BIN)/python -m tests.simulation run $(or $(START),0) $(or $(SEEDS),100) --profile $(or $(PROFILE),full) $(ARGS)

mutants: $(STAMP)
	@$(BIN)/python -m tests.mutants $(ARGS)

figures: $(STAMP)
	@$(BIN)/python -m tests.simulation figures

explore: $(STAMP)
	nice $(BIN)/python -m tests.exhaustive $(ARGS)

crash: $(STAMP)
	$(BIN)/python -m tests.crash $(ARGS)

determinism: $(STAMP)
	@$(BIN)/python -m tests.attribution.determinism $(ARGS)

determinism-arm64: $(STAMP)
	@$(BIN)/python -m tests.attribution.arm64 $(ARGS)

bench-exact: $(STAMP)
	@OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m tests.attribution.exact_figures $(ARGS)

format: $(STAMP)
	$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
