# The front doors: each sets up all it needs (Python >= 3.9 with venv and pip). ARGS="..." is handed to pytest.
PYTHON ?= python3
TOX = .venv/bin/tox

.PHONY: gate test accuracy performance lint tf210 clean coco weights

gate: $(TOX)
	$(TOX) run -q -e gate -- $(ARGS)

test: $(TOX)
	$(TOX) run -q -e tests -- $(ARGS)

accuracy performance lint tf210: $(TOX)
	$(TOX) run -q -e $@ -- $(ARGS)

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
