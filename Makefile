# Everything runs in .venv, which each target makes and fills when it is needed.
#   make demo                                   train, evaluate and predict on the embedded sample
#   make train-sentiment ARGS="--cell gru"      any flag of the command goes into ARGS

TASKS := forecasting sentiment translation captioning
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
DEMO := runs/demo
TORCH := 2.13.0
UV := 0.13.9
ARGS ?=

# As typed, so that quotes and dollar signs in a text reach the program unchanged: exporting a
# variable would expand it.
unexport TEXT TICKER IMAGE RUN ONLY INPUT OUTPUT RUN_SENTIMENT RUN_TRANSLATION RUN_CAPTIONING RUN_FORECASTING
define newline


endef
quoted = '$(subst ','\'',$(value $(1)))'
one_line = $(if $(findstring $(newline),$(value $(1))),$(error $(1) spans lines: give texts on standard input, one a line))
text_flag = $(call one_line,TEXT)$(if $(filter file undefined,$(origin TEXT)),,--text=$(call quoted,TEXT))
ticker_flag = $(if $(value TICKER),--ticker=$(call quoted,TICKER))
image_flag = $(if $(value IMAGE),--image=$(call quoted,IMAGE))
only_flag = $(if $(value ONLY),--only=$(call quoted,ONLY))
run_flag = $(if $(value RUN),--run=$(call quoted,RUN))
web_flags = $(if $(value RUN_SENTIMENT),--sentiment=$(call quoted,RUN_SENTIMENT)) \
  $(if $(value RUN_TRANSLATION),--translation=$(call quoted,RUN_TRANSLATION)) \
  $(if $(value RUN_CAPTIONING),--captioning=$(call quoted,RUN_CAPTIONING)) \
  $(if $(value RUN_FORECASTING),--forecasting=$(call quoted,RUN_FORECASTING)) \
  $(if $(value PORT),--port=$(call quoted,PORT)) $(if $(value HOST),--host=$(call quoted,HOST))
input_flag = $(if $(value INPUT),--input=$(call quoted,INPUT))
output_flag = $(if $(value OUTPUT),--output=$(call quoted,OUTPUT))
cluster_flag = $(if $(CLUSTER),--cluster=$(CLUSTER))
share_flags = $(cluster_flag) $(if $(CPUS),--cpus=$(CPUS)) $(if $(GPUS),--gpus=$(GPUS))
plan_flag = $(if $(CLUSTER_CPUS),--cluster-cpus=$(CLUSTER_CPUS))
cluster_packages = $(if $(CLUSTER),$(VENV)/.cluster)

.DEFAULT_GOAL := help
.PHONY: help setup lock demo ensemble benchmark benchmark-check benchmark-quick study-gradients study-speed study-export study-load web serve test test-web test-slow test-torch check format tables \
        $(foreach task,$(TASKS),$(addsuffix -$(task),demo train evaluate predict export))

help:  ## list the targets
	@echo "usage: make TARGET [VARIABLE=value ...]"
	@grep -hE '^[a-z$$()%-][a-zA-Z$$()%-]*:.*##' $(MAKEFILE_LIST) \
	  | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  %-22s %s\n", $$1, $$2}'
	@echo
	@echo "variables: ARGS=\"--cell gru ...\"   any flag of the command (see: make train-sentiment ARGS=--help)"
	@echo "           RUN=runs/sentiment/...  a run folder    TEXT='...'  a text to predict on"
	@echo "           TICKER=AAPL  a ticker, or a .csv file of prices, to forecast"
	@echo "           IMAGE=photo.jpg  a picture, a folder of them or a pattern, to caption"
	@echo "           RUNS='runs/... runs/...'  run folders to join    ONLY='translation gru'  rows of the benchmark"
	@echo "           PORT=8000 HOST=127.0.0.1 RUN_SENTIMENT=runs/...  of make web"
	@echo "           CLUSTER=local|HOST:PORT  Ray runs it (docs/cluster.md)    CPUS=2 GPUS=1  of each run there"
	@echo "           DATA_DIR=...  downloads   CACHE_DIR=...  derived files   KERAS_BACKEND=tensorflow|jax|torch"

setup: $(VENV)/.user  ## install what a user needs (GPU=1: with what an NVIDIA GPU needs)
ifdef GPU
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-gpu.lock
endif

lock: | $(PY)  ## pin in requirements*.lock all that requirements*.txt need (ARGS=--upgrade: in newer versions)
	$(PY) -m pip install --quiet uv==$(UV)
	$(compile) requirements.txt --output-file requirements.lock
	$(compile) --constraints requirements.lock requirements-dev.txt --output-file requirements-dev.lock
	$(compile) --constraints requirements.lock requirements-web.txt --output-file requirements-web.lock
	$(compile) --constraints requirements-web.lock requirements-serve.txt --output-file requirements-serve.lock
	$(compile) --constraints requirements.lock requirements-gpu.txt --output-file requirements-gpu.lock
	$(compile) --constraints requirements.lock requirements-cluster.txt --output-file requirements-cluster.lock

compile = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --no-annotate \
  --custom-compile-command "make lock" $(ARGS)

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "error: Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.user: requirements.lock | $(PY)
	@echo "installing requirements.lock into $(VENV) (a few minutes the first time)"
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@

$(VENV)/.developer: requirements-dev.lock | $(PY)
	@echo "installing requirements-dev.lock into $(VENV) (a few minutes the first time)"
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@ $(VENV)/.user

.venv-%/.ready: requirements-%.lock
	@echo "installing $< into .venv-$* (a minute the first time)"
	$(PYTHON) -m venv .venv-$* || { rm -rf .venv-$*; exit 1; }
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

web: .venv-web/.ready  ## serve a page to try all four models, and its JSON service (PORT=8000, RUN_SENTIMENT=runs/...)
	@.venv-web/bin/python -m apps.web $(web_flags) $(ARGS)

serve: .venv-serve/.ready  ## the same service with replicas on Ray (REPLICAS=4 CLUSTER=HOST:PORT; docs/serving.md)
	@.venv-serve/bin/python -m apps.cluster.serve $(web_flags) $(cluster_flag) $(if $(CPUS),--cpus=$(CPUS)) $(if $(REPLICAS),--replicas=$(REPLICAS)) $(ARGS)

demo: $(VENV)/.user  ## train, evaluate and predict on the embedded samples, offline
	@echo "four apps, two at a time: each prints what it did when it is done"
	@$(MAKE) --no-print-directory --jobs=2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) $(addprefix demo-,captioning translation sentiment forecasting)
	@$(PY) -m apps.studies.demo --runs $(DEMO)
$(VENV)/.cluster: requirements-cluster.lock | $(PY)
	@echo "installing requirements-cluster.lock into $(VENV)"
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-cluster.lock
	@touch $@ $(VENV)/.user

demo-forecasting: $(VENV)/.user
	@echo "— the sample: simulated prices with clusters of volatility and jumps"
	$(PY) -m data.prices.sample --data-dir $(DEMO)/data
	@echo "— train"
	$(PY) -m apps.forecasting.train --data $(DEMO)/data/prices --run $(DEMO)/forecasting --overwrite \
	  --market ^SIM --features returns,range,market --lookback 64 --stride 16 --warmup-days 10 --units 32 --batch-size 16
	@echo "— evaluate: the saved model on the test split, beside GARCH and others on the same days"
	CACHE_DIR=$(DEMO)/cache $(PY) -m apps.forecasting.evaluate --run $(DEMO)/forecasting
	@echo "— predict: the model just trained, seen from a day of the past, so that the chart shows what came"
	$(PY) -m apps.forecasting.predict --data-dir $(DEMO)/data --run $(DEMO)/forecasting --ticker SIMA --as-of 2018-06-29 \
	  --picture $(DEMO)/forecast.png

demo-sentiment: $(VENV)/.user
	@echo "— the sample: reviews whose verdict hangs on word order and negation"
	$(PY) -m data.reviews.sample --data-dir $(DEMO)/data
	@echo "— train"
	CACHE_DIR=$(DEMO)/cache $(PY) -m apps.sentiment.train --data-dir $(DEMO)/data --run $(DEMO)/sentiment --overwrite \
	  --epochs 6 --units 32 --embed-dim 48 --bigram-buckets 0 --max-length 100 --region-length 0 --tokens-per-batch 3000 --warmup-steps 20 --learning-rate 6e-3 --word-dropout 0 --dropout 0.2
	@echo "— evaluate: the saved model on the test split, beside systems without a recurrent network"
	CACHE_DIR=$(DEMO)/cache $(PY) -m apps.sentiment.evaluate --data-dir $(DEMO)/data --run $(DEMO)/sentiment
	@echo "— predict: the model just trained"
	$(PY) -m apps.sentiment.predict --run $(DEMO)/sentiment < apps/sentiment/demo.txt
	@echo "— predict: the model trained on the real IMDB reviews that comes with the project"
	$(PY) -m apps.sentiment.predict < apps/sentiment/demo.txt

demo-translation: $(VENV)/.user
	@echo "— the sample: a small grammar of English and French, where word for word goes wrong"
	$(PY) -m data.pairs.sample --data-dir $(DEMO)/data
	@echo "— train"
	$(PY) -m apps.translation.train --data-dir $(DEMO)/data --run $(DEMO)/translation --overwrite \
	  --epochs 5 --vocab-size 480 --embed-dim 64 --units 64 --decoder-units 96 --decoder-layers 1 --tokens-per-batch 2000 \
	  --warmup-steps 50 --learning-rate 5e-3 --dropout 0.1 --embedding-dropout 0
	@echo "— evaluate: the saved model on the test split, beside systems without a network"
	CACHE_DIR=$(DEMO)/cache $(PY) -m apps.translation.evaluate --data-dir $(DEMO)/data --run $(DEMO)/translation
	@echo "— predict: the model just trained, with what each word looked at in $(DEMO)/alignment.png"
	$(PY) -m apps.translation.predict --run $(DEMO)/translation --n-best 3 --picture $(DEMO)/alignment.png < apps/translation/demo.txt

demo-captioning: $(VENV)/.user
	@echo "— the sample: pictures of coloured shapes, so that whoever does not look goes wrong"
	$(PY) -m data.pictures.sample --data-dir $(DEMO)/data --folder $(DEMO)/pictures
	@echo "— train: a small CNN and the decoder together, from scratch"
	CACHE_DIR=$(DEMO)/cache $(PY) -m apps.captioning.train --data-dir $(DEMO)/data --run $(DEMO)/captioning --overwrite \
	  --backbone small_cnn --picture-size 64 --no-mirror --cell gru --epochs 4 --beam-size 3 --vocab-size 330 --embed-dim 64 --decoder-units 96 \
	  --decoder-layers 1 --tokens-per-batch 2500 --warmup-steps 50 --learning-rate 5e-3 --dropout 0.1 --embedding-dropout 0 --word-dropout 0
	@echo "— evaluate: the saved model on the test split, beside systems without a recurrent network"
	CACHE_DIR=$(DEMO)/cache $(PY) -m apps.captioning.evaluate --data-dir $(DEMO)/data --run $(DEMO)/captioning
	@echo "— predict: the model just trained, with where each word looked in $(DEMO)/looked.png"
	$(PY) -m apps.captioning.predict --run $(DEMO)/captioning --image $(DEMO)/pictures --picture $(DEMO)/looked.png

train-forecasting: $(VENV)/.user  ## train on 42 large US companies, or on your own with ARGS="--data folder"
	$(PY) -m apps.forecasting.train $(run_flag) $(ARGS)

evaluate-forecasting: $(VENV)/.user  ## score RUN (default: the pretrained model) on the test split, beside GARCH
	$(PY) -m apps.forecasting.evaluate $(run_flag) $(ARGS)

predict-forecasting: $(VENV)/.user  ## forecast the next days of TICKER with RUN (default: pretrained)
	@$(PY) -m apps.forecasting.predict $(ticker_flag) $(run_flag) $(ARGS)

export-forecasting: $(VENV)/.user  ## write RUN (default: pretrained) as an ONNX graph, with which predict needs no Keras
	$(PY) -m apps.export --task forecasting $(run_flag) $(ARGS)

train-sentiment: $(VENV)/.user  ## train on IMDB, or on your own with ARGS="--data reviews.csv"
	$(PY) -m apps.sentiment.train $(run_flag) $(ARGS)

evaluate-sentiment: $(VENV)/.user  ## score RUN (default: the pretrained model) on the test split
	$(PY) -m apps.sentiment.evaluate $(run_flag) $(ARGS)

predict-sentiment: $(VENV)/.user  ## read TEXT, or lines from standard input, with RUN (default: pretrained)
	@$(PY) -m apps.sentiment.predict $(text_flag) $(run_flag) $(ARGS)

export-sentiment: $(VENV)/.user  ## write RUN (default: pretrained) as an ONNX graph, with which predict needs no Keras
	$(PY) -m apps.export --task sentiment $(run_flag) $(ARGS)

train-translation: $(VENV)/.user  ## train English to French on Multi30k, or ARGS="--data tatoeba" or "--data pairs.tsv"
	$(PY) -m apps.translation.train $(run_flag) $(ARGS)

evaluate-translation: $(VENV)/.user  ## score RUN (default: the pretrained model) by BLEU and chrF, ARGS="--split test_2017_flickr"
	$(PY) -m apps.translation.evaluate $(run_flag) $(ARGS)

predict-translation: $(VENV)/.user  ## translate TEXT, or lines from standard input, with RUN (default: pretrained)
	@$(PY) -m apps.translation.predict $(text_flag) $(run_flag) $(ARGS)

export-translation: $(VENV)/.user  ## write RUN (default: pretrained) as an ONNX graph, with which predict needs no Keras
	$(PY) -m apps.export --task translation $(run_flag) $(ARGS)

train-captioning: $(VENV)/.user  ## train on Flickr8k, or on your own with ARGS="--data folder"
	$(PY) -m apps.captioning.train $(run_flag) $(ARGS)

evaluate-captioning: $(VENV)/.user  ## score RUN (default: the pretrained model) by BLEU, ROUGE-L and CIDEr
	$(PY) -m apps.captioning.evaluate $(run_flag) $(ARGS)

predict-captioning: $(VENV)/.user  ## caption IMAGE (a file, a folder, "*.jpg") with RUN (default: pretrained)
	@$(PY) -m apps.captioning.predict $(image_flag) $(run_flag) $(ARGS)

export-captioning: $(VENV)/.user  ## write RUN (default: pretrained) as an ONNX graph, with which predict needs no Keras
	$(PY) -m apps.export --task captioning $(run_flag) $(ARGS)

ensemble: $(VENV)/.user  ## join RUNS="runs/translation/gru-s1 ..." to one run folder, used like any other
	$(PY) -m apps.ensemble $(if $(RUNS),--members $(RUNS)) $(run_flag) $(ARGS)

benchmark: $(VENV)/.user $(cluster_packages)  ## train, score and publish every row of the tables, or ONLY="translation gru" (a day on two cores)
	$(PY) -m apps.studies.benchmark $(only_flag) $(share_flags) $(plan_flag) $(ARGS)
	$(if $(findstring --plan,$(ARGS)),,$(MAKE) tables)

benchmark-check: $(VENV)/.user  ## train and score rows from nothing, ONLY="sentiment lstm", and compare with what is published
	$(PY) -m apps.studies.benchmark --check $(only_flag) $(ARGS)

benchmark-quick: $(VENV)/.user $(cluster_packages)  ## smoke test of every row, on the samples
	$(PY) -m apps.studies.benchmark --quick $(only_flag) $(share_flags) $(ARGS)

predict-many-%: $(VENV)/.user $(cluster_packages)  ## answer all of INPUT, a file of texts or a folder, in parts of a folder OUTPUT
	$(PY) -m apps.cluster.predict_many --task=$* $(input_flag) $(output_flag) $(run_flag) $(cluster_flag) $(ARGS)

tune-%: $(VENV)/.cluster  ## search the settings of a task by its validation score, ARGS="--trials 40"
	$(PY) -m apps.cluster.tune --task=$* $(share_flags) $(ARGS)

study-gradients: $(VENV)/.user  ## show vanishing and exploding gradients, and what helps (draws the pictures of docs/)
	$(PY) -m apps.studies.gradients $(ARGS)

study-speed: $(VENV)/.developer  ## measure each cell on each backend beside native PyTorch, and start-up (installs PyTorch)
	$(PY) -m pip install --quiet torch==$(TORCH)
	$(PY) -m apps.studies.speed $(ARGS)

study-export: $(VENV)/.user  ## compare the pretrained models in Keras with their exports: size, quality, speed, memory
	$(PY) -m apps.studies.export $(ARGS)

study-load: $(VENV)/.developer  ## measure the service under load, on the loopback address
	$(PY) -m apps.studies.load $(ARGS)

tables: $(VENV)/.user  ## write the result tables of the READMEs anew
	$(PY) -m common.tables README.md $(foreach task,$(TASKS),apps/$(task)/README.md apps/$(task)/pretrained/README.md)
	$(PY) -m apps.studies.cells

test: $(VENV)/.developer  ## run the tests on the TensorFlow and JAX backends
	KERAS_BACKEND=tensorflow $(PY) -m pytest -m "not slow and not browser" -n 2 --dist loadfile --durations=15
	JAX_COMPILATION_CACHE_DIR=.pytest_cache/jax JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.3 KERAS_BACKEND=jax \
	  $(PY) -m pytest -m "not slow and not browser and not no_backend" -n 2 --dist loadfile --durations=15 \
	  tests/models tests/common

test-web: $(VENV)/.developer  ## use the page as a visitor would, in Chromium (SCREENSHOTS=docs: draw its pictures)
	$(PY) -m pytest -m browser tests/apps/web

test-slow: $(VENV)/.developer  ## run the tests that `make test` leaves out: the long ones, and all apps on JAX
	KERAS_BACKEND=tensorflow $(PY) -m pytest -m slow -n 2 --dist loadfile --durations=15
	KERAS_BACKEND=jax $(PY) -m pytest -m "not slow and not browser and not no_backend" -n 2 --dist loadfile --durations=15 tests/apps

test-torch: $(VENV)/.developer  ## run the same tests on PyTorch (installs it)
	$(PY) -m pip install --quiet torch==$(TORCH)
	KERAS_BACKEND=torch $(PY) -m pytest -m "not slow and not browser and not no_backend" tests/models tests/common tests/apps

check: $(VENV)/.developer  ## lint and check the format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(VENV)/.developer  ## format, and mend what the linter can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
