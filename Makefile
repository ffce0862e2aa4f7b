# The front doors: each sets up all it needs (Python >= 3.9 with venv and pip). ARGS="..." is handed to pytest.
PYTHON ?= python3
TOX = .venv/bin/tox

.PHONY: gate test accuracy performance lint neuron newest lowest tf210 tf115 clean coco weights

gate: $(TOX)
	$(TOX) run -q -e gate -- $(ARGS)

test: $(TOX)
	$(TOX) run -q -e tests $(if $(ARGS),-- $(ARGS))
	$(if $(ARGS),,$(TOX) run -q -e gate -- --soak 10s)

accuracy performance lint neuron newest lowest tf210: $(TOX)
	$(TOX) run -q -e $@ -- $(ARGS)

# What runs in the detector's own process, on the TensorFlow that Inf1's documented route needs; it needs a Python 3.7.
PYTHON37 ?= python3.7
TF115 = .tox/tf115/bin/python
tf115: $(TOX) $(TF115)
	TF_115_PYTHON='$(CURDIR)/$(TF115)' $(TOX) run -q -e tests -- tests/model -k tensorflow_1 $(ARGS)

$(TF115): requirements-tf115.txt
	$(PYTHON37) -m venv .tox/tf115
	.tox/tf115/bin/pip install -q --disable-pip-version-check -r requirements-tf115.txt
	@touch $(TF115)

# COCO val2017 and the public YOLOv4 checkpoints, into DATA (default: data), from MIRROR where it is given.
coco weights: $(TOX)
	$(TOX) run -q -e downloads -- $@ $(if $(DATA),--data-dir '$(DATA)') $(if $(MIRROR),--mirror '$(MIRROR)')

$(TOX): Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9) and "Python 3.9 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q --disable-pip-version-check 'tox>=4.20,<5'
	@touch $(TOX)

clean:
	rm -rf .venv .tox .cache .pytest_cache
