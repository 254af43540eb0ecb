# Everything runs in .venv, which each target makes and fills when it is needed.
#   make demo                                   train, evaluate and predict on the embedded sample
#   make train-sentiment ARGS="--cell gru"      any flag of the command goes into ARGS

TASKS := sentiment
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
DEMO := runs/demo
ARGS ?=

# As typed, so that quotes and dollar signs in a text reach the program unchanged: exporting a
# variable would expand it.
unexport TEXT RUN
define newline


endef
quoted = '$(subst ','\'',$(value $(1)))'
one_line = $(if $(findstring $(newline),$(value $(1))),$(error $(1) spans lines: give texts on standard input, one a line))
text_flag = $(call one_line,TEXT)$(if $(filter file undefined,$(origin TEXT)),,--text=$(call quoted,TEXT))
run_flag = $(if $(value RUN),--run=$(call quoted,RUN))

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-sentiment benchmark-sentiment study-batching test test-torch check format tables \
        $(foreach task,$(TASKS),train-$(task) evaluate-$(task) predict-$(task))

help:  ## list the targets
	@echo "usage: make TARGET [VARIABLE=value ...]"
	@grep -hE '^[a-z$$()%-][a-zA-Z$$()%-]*:.*##' $(MAKEFILE_LIST) \
	  | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  %-22s %s\n", $$1, $$2}'
	@echo
	@echo "variables: ARGS=\"--cell gru ...\"   any flag of the command (see: make train-sentiment ARGS=--help)"
	@echo "           RUN=runs/sentiment/...  a run folder    TEXT='...'  a text to predict on"
	@echo "           DATA_DIR=...  downloads   CACHE_DIR=...  derived files   KERAS_BACKEND=tensorflow|jax|torch"

setup: $(VENV)/.user  ## install what a user needs (GPU=1: with what an NVIDIA GPU needs)
ifdef GPU
	$(PY) -m pip install --quiet "$(shell sed -n 's/^tensorflow==/tensorflow[and-cuda]==/p' requirements.txt)"
endif

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "error: Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.user: requirements.txt | $(PY)
	@echo "installing requirements.txt into $(VENV) (a few minutes the first time)"
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.developer: requirements-dev.txt requirements.txt | $(PY)
	@echo "installing requirements-dev.txt into $(VENV) (a few minutes the first time)"
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/.user

demo: demo-sentiment  ## train, evaluate and predict on the embedded sample, offline

demo-sentiment: $(VENV)/.user
	@echo "— the sample: reviews whose verdict hangs on word order and negation"
	$(PY) -m data.samples --data-dir $(DEMO)/data
	@echo "— train"
	CACHE_DIR=$(DEMO)/cache $(PY) -m apps.sentiment.train --data-dir $(DEMO)/data --run $(DEMO)/sentiment --overwrite \
	  --epochs 10 --units 32 --embed-dim 48 --bigram-buckets 0 --max-length 100 --region-length 0 --buckets 3 --tokens-per-batch 3000 --warmup-steps 20 --learning-rate 4e-3 --word-dropout 0 --dropout 0.2
	@echo "— evaluate: the saved model on the test split, beside systems without a recurrent network"
	CACHE_DIR=$(DEMO)/cache $(PY) -m apps.sentiment.evaluate --data-dir $(DEMO)/data --run $(DEMO)/sentiment
	@echo "— predict: the model just trained"
	$(PY) -m apps.sentiment.predict --run $(DEMO)/sentiment < apps/sentiment/demo.txt
	@echo "— predict: the model trained on the real IMDB reviews that comes with the project"
	$(PY) -m apps.sentiment.predict < apps/sentiment/demo.txt

train-sentiment: $(VENV)/.user  ## train on IMDB, or on your own with ARGS="--data reviews.csv"
	$(PY) -m apps.sentiment.train $(run_flag) $(ARGS)

evaluate-sentiment: $(VENV)/.user  ## score RUN (default: the pretrained model) on the test split
	$(PY) -m apps.sentiment.evaluate $(run_flag) $(ARGS)

predict-sentiment: $(VENV)/.user  ## read TEXT, or lines from standard input, with RUN (default: pretrained)
	@$(PY) -m apps.sentiment.predict $(text_flag) $(run_flag) $(ARGS)

# The rows of the result table. A run that is complete is not trained again, one that was stopped goes on.
SENTIMENT := runs/sentiment
TEACHERS := nb_svm,$(SENTIMENT)/lstm-s1,$(SENTIMENT)/gru-s1

benchmark-sentiment: $(VENV)/.user  ## train, score and gather every row of the sentiment table (under two hours on two cores)
	set -e; row() { name=$$1; seeds=$$2; shift 2; runs=; for seed in $$seeds; do \
	    run=$(SENTIMENT)/$$name-s$$seed; runs="$$runs $$run"; \
	    test -f $$run/config.json && again=--resume || again=; \
	    test -f $$run/plots/optimisation.png || $(PY) -m apps.sentiment.train "$$@" --seed $$seed --run $$run $$again; \
	    grep -q '"test"' $$run/metrics.json || $(PY) -m apps.sentiment.evaluate --run $$run; \
	  done; $(PY) -m common.results gather apps/sentiment/results $$name $$runs; }; \
	row lstm "1 2 3" --cell lstm; row gru "1 2 3" --cell gru; row simple_rnn "1" --cell simple_rnn; \
	row self_trained "1" --teachers $(TEACHERS) --epochs 2
	$(MAKE) tables

study-batching: $(VENV)/.user  ## measure what length buckets gain over padding to one length
	$(PY) -m apps.studies.batching $(ARGS)

tables: $(VENV)/.user  ## write the result tables of the READMEs anew
	$(PY) -m common.results tables README.md $(foreach task,$(TASKS),apps/$(task)/README.md)

test: $(VENV)/.developer  ## run the tests on the TensorFlow and JAX backends
	KERAS_BACKEND=tensorflow $(PY) -m pytest -m "not slow" -n 2
	KERAS_BACKEND=jax $(PY) -m pytest -m "not slow" -n 2 tests/models tests/common tests/apps

test-torch: $(VENV)/.developer  ## run the same tests on PyTorch (installs it)
	$(PY) -m pip install --quiet torch==2.13.0
	KERAS_BACKEND=torch $(PY) -m pytest -m "not slow" tests/models tests/common tests/apps

check: $(VENV)/.developer  ## lint and check the format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(VENV)/.developer  ## format, and mend what the linter can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
