# make demo | quick | test | lint | bench | gpu | overhead | docs | links | evidence | nature | leaderboard | architectures | wild | character-stream | faults | beside-jax:
# each target makes .venv first, if it is missing.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DATA := $(wildcard ../shared/data/unpack.py)
CACHE := .cache/data

.PHONY: demo quick test lint bench gpu overhead docs links evidence nature leaderboard architectures wild character-stream faults beside-jax clean

demo: $(INSTALLED)
	$(BIN)/neoteny demo

# Two workers with one thread each: the suite is many small tests, for which more threads would only wait.
test: $(INSTALLED) $(if $(DATA),$(CACHE)/.unpacked)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(if $(DATA),NEOTENY_DATA="$(CURDIR)/$(CACHE)") \
		$(BIN)/python -m pytest -n 2 --dist worksteal --durations 10 $(ARGS)

# For daily work, under two minutes: the core and the rules, without what compiles, trains or starts processes.
quick: $(INSTALLED)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not slow" src \
		tests/test_imports.py tests/test_registry.py tests/units tests/nn tests/optim tests/measures tests/streams \
		tests/methods tests/lab/test_objective.py tests/lab/test_config.py tests/lab/test_recorder.py \
		--ignore=tests/methods/test_rules_as_pure_functions.py --ignore=tests/methods/test_distributed.py $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell README.md CHANGELOG.md CONTRIBUTING.md docs src examples bench
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/lint-imports
	$(BIN)/basedpyright --pythonpath $(BIN)/python

bench: $(INSTALLED) $(if $(DATA),$(CACHE)/.unpacked)
	$(BIN)/python bench/speed.py $(ARGS)
	$(BIN)/python bench/one_call.py --out docs/evidence/one_call.md
	$(if $(DATA),NEOTENY_DATA="$(CURDIR)/$(CACHE)") $(BIN)/python bench/epochs.py --out docs/evidence/epochs.md
	$(BIN)/python bench/agents.py --out docs/evidence/agents.md

# Where there is a CUDA device: the tests that need one and the speed of stacks, in at most eight minutes. In an environment
# of your own, `python bench/gpu.py` does the same.
gpu: $(INSTALLED) $(if $(DATA),$(CACHE)/.unpacked)
	$(if $(DATA),NEOTENY_DATA="$(CURDIR)/$(CACHE)") $(BIN)/python bench/gpu.py $(ARGS)

# JAX is needed here alone.
beside-jax: $(INSTALLED)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[bench]'
	$(BIN)/python bench/beside_jax.py --out docs/evidence/beside_jax.md $(ARGS)

overhead: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python bench/overhead.py --out docs/evidence $(ARGS)

docs: $(INSTALLED)
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@$(BIN)/python -m sphinx.ext.intersphinx docs/_build/html/objects.inv | grep -w neoteny.attach > /dev/null
	@echo docs/_build/html/index.html

# Links to other sites, for a machine that reaches them; those within the pages are checked whenever they are built.
links: $(INSTALLED)
	$(BIN)/sphinx-build -q -b linkcheck docs docs/_build/links

evidence: $(INSTALLED) $(if $(DATA),$(CACHE)/.unpacked)
	$(if $(DATA),NEOTENY_DATA="$(CURDIR)/$(CACHE)") $(BIN)/python docs/evidence/make.py $(ARGS)

nature: $(INSTALLED) $(if $(DATA),$(CACHE)/.unpacked)
	OMP_NUM_THREADS=1 $(if $(DATA),NEOTENY_DATA="$(CURDIR)/$(CACHE)") $(BIN)/python docs/evidence/nature.py $(ARGS)

leaderboard: $(INSTALLED) $(if $(DATA),$(CACHE)/.unpacked)
	OMP_NUM_THREADS=1 $(if $(DATA),NEOTENY_DATA="$(CURDIR)/$(CACHE)") $(BIN)/neoteny leaderboard --to docs/evidence $(ARGS)

architectures: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python docs/evidence/architectures.py $(ARGS)

# Networks and optimizers of others; an hour or more. Rows that are there are kept: delete .cache/wild.json to begin anew.
wild: $(INSTALLED)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[wild]'
	OMP_NUM_THREADS=1 $(BIN)/python docs/evidence/wild.py $(ARGS)
	OMP_NUM_THREADS=1 $(BIN)/python docs/evidence/wild_optimizers.py --to docs/evidence/wild_optimizers.md
	$(if $(ARGS),,OMP_NUM_THREADS=1 $(BIN)/python docs/evidence/wild_optimizers.py)

character-stream: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python examples/character_stream.py $(ARGS)
	$(BIN)/python docs/evidence/character_stream.py

# Kills, damages, every system compiled, made-up inputs: some hours of a core; a campaign that is stopped goes on.
faults: $(INSTALLED)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 nice $(BIN)/python tests/faults/campaign.py --out docs/evidence/faults.md $(ARGS)

clean:
	rm -rf $(VENV) .cache docs/_build

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# The official data files, if they lie beside the checkout; without them the tests that need them are skipped.
$(CACHE)/.unpacked: $(DATA) | $(INSTALLED)
	mkdir -p $(CACHE)
	$(BIN)/python $(DATA) $(CACHE)
	touch $@
