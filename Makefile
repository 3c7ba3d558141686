# `make help` lists the targets. Everything runs in .venv, which is made once from requirements.lock.
SUITE ?= default
LEVEL ?= quick
RESULTS ?= results/local
N ?= 20
SEED ?= 0
ARCHIVE ?=
ARGS ?=
PYTHON ?= python3
# one word for the shell, taken literally: spaces, quotes, dollars
quoted = '$(subst ','\'',$(1))'
# what is verified: the archive, else the results folder if one was named, else the committed reference
VERIFIED = $(if $(value ARCHIVE),$(call quoted,archive=$(value ARCHIVE)),$(if $(filter file,$(origin RESULTS)),,$(call quoted,results_dir=$(value RESULTS))))
RUN := .venv/bin/python -m
# two processes of one thread each: with two, the threads wait for each other's cores
TESTS := OMP_NUM_THREADS=1 $(RUN) pytest -n 2 --dist loadfile --durations=15 --durations-min=1

.DEFAULT_GOAL := help
.PHONY: help bench claims leaderboard report figures status verify published cite archive docs test test-slow lint speed clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python >= 3.11 is needed, this is {v.major}.{v.minor}: set PYTHON=")'
	@echo 'setting up .venv: pinned packages, about 6 GB on Linux (torch with CUDA), minutes'
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

bench: .venv/ready  ## run the matrix of SUITE=smoke|default|full into RESULTS=results/local, print the leaderboard
	@$(RUN) bench.run $(call quoted,suite=$(value SUITE)) $(call quoted,results_dir=$(value RESULTS)) $(ARGS)

claims: .venv/ready  ## a verdict for every claim of the theory, LEVEL=quick|full, beside controls that must fail
	@$(RUN) bench.claims $(call quoted,level=$(value LEVEL)) $(call quoted,results_dir=$(value RESULTS)) $(ARGS)

leaderboard: .venv/ready  ## rebuild the leaderboard from the store, compute nothing
	@$(RUN) bench.leaderboard $(call quoted,suite=$(value SUITE)) $(call quoted,results_dir=$(value RESULTS)) $(ARGS)

report: .venv/ready  ## the web page RESULTS/report/index.html, which opens offline, and RESULTS/summary.md; compute nothing
	@$(RUN) bench.report $(call quoted,suite=$(value SUITE)) $(call quoted,results_dir=$(value RESULTS)) $(ARGS)

figures: .venv/ready  ## figures for papers, as SVG, PNG and PDF, into RESULTS/figures/
	@$(RUN) bench.report.figures $(call quoted,suite=$(value SUITE)) $(call quoted,results_dir=$(value RESULTS)) $(ARGS)

status: .venv/ready  ## what the suite has, lacks, diverged and failed
	@$(RUN) bench.status $(call quoted,suite=$(value SUITE)) $(call quoted,results_dir=$(value RESULTS)) $(ARGS)

verify: .venv/ready  ## compute N=20 members of results/reference again and compare; RESULTS= or ARCHIVE=file.zip for others
	@$(RUN) bench.verify $(VERIFIED) $(call quoted,n=$(value N)) $(call quoted,seed=$(value SEED)) $(ARGS)

published: .venv/ready  ## a published table beside ours, from results/published or RESULTS=; compute nothing
	@$(RUN) bench.published $(call quoted,results_dir=$(if $(filter file,$(origin RESULTS)),results/published,$(value RESULTS))) $(ARGS)

cite: .venv/ready  ## BibTeX and text for exactly the results of the suite
	@$(RUN) bench.cite $(call quoted,suite=$(value SUITE)) $(call quoted,results_dir=$(value RESULTS)) $(ARGS)

archive: .venv/ready  ## pack the suite's results, configurations and report into one zip file with checksums
	@$(RUN) bench.archive $(call quoted,suite=$(value SUITE)) $(call quoted,results_dir=$(value RESULTS)) $(ARGS)

docs: .venv/ready  ## the reference of shb and the documents as web pages, build/docs/index.html, which open offline
	@.venv/bin/python docs/site/build.py build/docs

test: .venv/ready lint  ## the tests in two processes, after the checks of style and types; not those that take long
	@$(TESTS) $(ARGS)

test-slow: .venv/ready  ## what `make test` leaves out: statistics of many runs, browser, other processes
	@$(TESTS) -m slow $(ARGS)

lint: .venv/ready
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

speed: .venv/ready  ## stacked training against one-at-a-time torch.optim, as ratios; JAX=1 installs JAX and compares with it
ifdef JAX
	@$(RUN) pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[jax]'
endif
	@$(RUN) bench.speed $(ARGS)
	@$(RUN) bench.speed.scaling

clean:  ## remove the virtual environment and caches (results stay)
	rm -rf .venv build .pytest_cache .ruff_cache .mypy_cache .hypothesis .benchmarks *.egg-info
