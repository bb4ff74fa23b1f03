# Everything that a person or a machine does with this repository. `make help` lists it.
#
# One environment, .venv, is made on first use and grows with what is asked of it: `demo` needs the simulator but no
# torch, `test` adds CPU torch, `lint` the checkers. Each step leaves a stamp and is repeated only after pyproject.toml
# or constraints.txt has changed.

VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
DECLARED := pyproject.toml constraints.txt

# The simulator's wheels stop at Python 3.11. Override with `make BASE_PYTHON=/path/to/python3.11 ...`.
BASE_PYTHON ?= $(shell for python in python3.11 python3 python; do \
	$$python -c 'import ensurepip, sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
	&& command -v $$python && break; done)

# Where pip's own index offers a CUDA build of torch (several GB that no test needs), name the index of the CPU builds:
# `make test TORCH_INDEX=...`. The PyTorch installation page gives its address.
TORCH_INDEX ?=

SEED ?= 10000
EPISODES ?= 3
SECONDS ?= 60
TASK ?= reach

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz bench train train-panda-gym lint format clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.sim ## run the whole stack on three episodes of picking, simulated arm included
	$(VENV)/bin/dualsys run configs/tabletop.yaml --task pick --episodes $(EPISODES) --seed $(SEED)

test: $(VENV)/.test ## run all tests, as CI does
	$(PYTHON) -m pytest

fuzz: $(VENV)/.test ## feed hostile bytes to every decoder and socket, for SECONDS=60
	$(PYTHON) tests/fuzz/fuzz.py --seconds $(SECONDS)

bench: $(VENV)/.sim ## measure the tasks and a slow System 2 on the twin, and write those two pages of docs/benchmarks
	$(PYTHON) -m dualsys.bench staleness
	$(PYTHON) -m dualsys.bench tasks

train: $(VENV)/.test ## train both systems from scratch and export the bundles
	$(PYTHON) -m dualsys.train

train-panda-gym: $(VENV)/.panda-gym ## train both systems on panda-gym, TASK=reach or pick, and run 100 unseen seeds
	$(PYTHON) -m dualsys.train.panda_gym --task $(TASK)
	$(PYTHON) -m dualsys.twin.environment configs/panda_gym_$(TASK).yaml --episodes 100

lint: $(VENV)/.dev ## check style, formatting and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/.dev ## rewrite the code in the project's format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean: ## remove the environment and everything derived; runs/ and data/ stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PYTHON):
	@if [ -n "$(BASE_PYTHON)" ]; then \
		"$(BASE_PYTHON)" -m venv $(VENV); \
	elif command -v uv >/dev/null; then \
		uv venv --quiet --seed --python 3.11 $(VENV); \
	else \
		echo "Python 3.11 with venv was not found: install it (Debian, Ubuntu: apt install python3.11-venv)," \
			"or install uv, or set BASE_PYTHON." >&2; exit 1; \
	fi

$(VENV)/.sim: $(DECLARED) | $(PYTHON)
	@echo "Installing dualsys and its simulator into $(VENV) ..."
	@$(PIP) --editable '.[sim]'
	@touch $@

# torch first and alone: whatever needs torch afterwards then finds it, and pip never looks for another build.
$(VENV)/.test: $(DECLARED) | $(PYTHON)
	@echo "Installing CPU torch, dualsys and what its tests need into $(VENV) ..."
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	@$(PIP) --editable '.[sim,train,test]'
	@touch $@ $(VENV)/.sim

$(VENV)/.panda-gym: $(VENV)/.test
	@echo "Installing panda-gym into $(VENV) ..."
	@$(PIP) --editable '.[panda-gym]'
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	@echo "Installing the checkers into $(VENV) ..."
	@$(PIP) --editable '.[dev]'
	@touch $@
