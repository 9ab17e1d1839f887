# Everything a newcomer needs: `make` lists the commands. Needs Python 3.11, 3.12 or 3.13, and pip or uv; nothing else.

VENV ?= .venv
ARGS ?=
# Which tests `make test-all` runs: a pytest marker expression; empty means all of them.
SELECT ?=
BENCH ?= *
export PYTHON INSTALLER

RUN = "$(VENV)/bin/python" -m
.DEFAULT_GOAL := help
SAE ?= experiments/smollm2_dictionaries.yaml
.PHONY: help install reproduce sae notebooks test test-all lint format bench clean

help:
	@echo "interp-workbench: a research workbench for mechanistic interpretability"
	@echo
	@echo "  make install     make .venv and install the project with its tested set of packages"
	@echo "  make reproduce   run the published experiments on a real language model; ends with their tables and a report"
	@echo "  make sae         train and evaluate sparse dictionaries of the same model; ends with their table and a report"
	@echo "  make notebooks   run the notebooks and write them as pages that work without a network"
	@echo "  make test        check the style, the types and the imports, then run the fast tests"
	@echo "  make test-all    run every test that this machine can run (slow ones, several processes, a browser, ...)"
	@echo "  make lint        only the checks: ruff, mypy, import-linter"
	@echo "  make format      bring the code into its standard form"
	@echo "  make bench       measure our fast paths against their peers; BENCH=name runs one of scripts/benchmarks/"
	@echo "  make clean       remove caches and build products; the environment and the runs stay"
	@echo
	@echo "Every command installs what is missing first. Start with: make reproduce"
	@echo "  ARGS=\"--quick\"       options for \`make reproduce\` (ARGS=\"--help\" lists them; a GPU is used when there is one)"
	@echo "  SAE=file.yaml        what \`make sae\` trains (default: $(SAE); ..._quick.yaml is the short one)"
	@echo "  VENV=path            use the environment there; a torch that it already has is left alone"
	@echo "  PYTHON=path          the Python to make the environment with        INSTALLER=pip|uv  what to fill it with"

install:
	@sh scripts/setup/install.sh "$(VENV)"

reproduce: install
	@"$(VENV)/bin/interp" reproduce all $(ARGS)

sae: install
	@"$(VENV)/bin/saes" train $(SAE) $(ARGS)

notebooks: install
	@"$(VENV)/bin/python" scripts/notebooks_to_html.py $(ARGS)

lint: install
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	"$(VENV)/bin/lint-imports" --no-logo

format: install
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

# The fast tests use one thread each: as many at a time as there are cores.
test: lint
	$(RUN) pytest -q -n auto --maxprocesses 8 --dist worksteal

# -rs: say why a test was skipped (no hub, no GPU, no browser).
test-all: install
	$(RUN) pytest -q -rs -m "$(SELECT)"

bench: install
	@for file in scripts/benchmarks/$(BENCH).py; do echo "== $$file"; "$(VENV)/bin/python" "$$file" || exit 1; done

clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
