# The commands: each installs what it needs (Python >= 3.9 with venv and pip). ARGS="..." is handed to pytest.
PYTHON ?= python3
TOX = .venv/bin/tox

.PHONY: gate test report compare slow accuracy performance lint neuron gpu newest lowest tf210 browser examples ray tf115 clean coco weights

gate: $(TOX)
	$(TOX) run -q -e gate $(if $(ARGS),-- $(ARGS))

test: $(TOX)
	$(TOX) run -q -e tests $(if $(ARGS),-- $(ARGS))
	$(if $(ARGS),,$(TOX) exec -q -e tests -- pytest tests/gates -q --benchmark-autosave --soak 10s)

# Two commits in turns, options of the gate after each: make compare A="HEAD~1 --cast fp32" B="HEAD --cast bf16".
compare: $(TOX)
	$(TOX) run -q -e compare -- 'A=$(A)' 'B=$(B)' $(ARGS)

# report.html of the folder that --report has written: make report DIR=report
DIR ?= report
report: $(TOX)
	$(TOX) run -q -e report -- $(DIR) $(ARGS)

# Without ARGS no bare `--`: tox would take it for an empty list in place of the environment's own arguments.
slow accuracy performance lint neuron gpu newest lowest tf210 browser examples ray: $(TOX)
	$(TOX) run -q -e $@ $(if $(ARGS),-- $(ARGS))

# The Python with tensorflow-neuron, where it is not named: the one that docs/inferentia.md makes, else AWS's image's.
PLACES = $(HOME)/neuron/bin/python /opt/aws_neuron_venv_tensorflow_2_10_inf1/bin/python
neuron: export DETECTOR_PYTHON := $(or $(DETECTOR_PYTHON),$(firstword $(wildcard $(PLACES))),python)

# The detector's own process on TensorFlow 1.15, which AWS documents for Inf1; needs Python 3.7.
PYTHON37 ?= python3.7
TF115 = .tox/tf115/bin/python
tf115: $(TOX) $(TF115)
	TF_115_PYTHON='$(CURDIR)/$(TF115)' $(TOX) run -q -e tests -- tests/model -k tensorflow_1 $(ARGS)

$(TF115): requirements-tf115.txt
	$(PYTHON37) -m venv .tox/tf115
	.tox/tf115/bin/pip install -q --disable-pip-version-check -r requirements-tf115.txt
	@touch $(TF115)

# examples/serve.py, which needs KServe in an environment of its own, asked by the client of examples/served_detector.py.
SERVING = .tox/serving/bin/python
.PHONY: serving
serving: $(TOX) $(SERVING)
	TF_SERVING_PYTHON='$(CURDIR)/$(SERVING)' $(TOX) run -q -e tests -- tests/examples/test_serve.py --benchmark-disable $(ARGS)

$(SERVING): requirements-serving.txt
	$(PYTHON) -m venv .tox/serving
	.tox/serving/bin/pip install -q --disable-pip-version-check -r requirements-serving.txt
	@touch $(SERVING)

# COCO val2017 and the public YOLOv4 checkpoints, into DATA, from the host MIRROR instead of their own if it is given:
# then ARGS="--coco data/coco --weights data/yolov4.weights".
DATA ?= data
coco weights:
	@DATA='$(DATA)' MIRROR='$(MIRROR)' bash fixtures/downloads.sh $@

$(TOX): Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9) and "Python 3.9 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q --disable-pip-version-check 'tox>=4.20,<5'
	@touch $(TOX)

clean:
	rm -rf .venv .tox .cache .pytest_cache
