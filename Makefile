# `make parity` compares the frameworks, `make test` also runs the tests: each makes what it needs, in .venv alone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOWER ?= flax
INSTALLED := $(VENV)/installed

.PHONY: parity test test-ray test-browser lower check install clean

parity: install
	$(BIN)/parity run

test: install
	$(BIN)/parity run
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-ray: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[ray]'
	$(BIN)/python -m pytest tests/test_ray.py

test-browser: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[browser]'
	$(BIN)/python -m pytest tests/test_browser.py

# Compiles for GPUs that are not there; Flax's compiler takes 1.3 GB, PyTorch's 1.7 GB more: `make lower LOWER=flax,torch`.
lower: install
	test -f $(VENV)-lower/parity.toml || $(BIN)/parity envs $(VENV)-lower --lower --framework $(LOWER)
	$(BIN)/parity lower --config $(VENV)-lower/parity.toml --framework $(LOWER)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; give it as: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,test,dev]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-lower
