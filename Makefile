PYTHON ?= python3
BIN := .venv/bin
# A Linux machine without an NVIDIA driver takes torch from the CPU index: no CUDA is downloaded.
CUDA := $(shell [ "$$(uname -s)" != Linux ] || nvidia-smi -L 2>/dev/null | grep '^GPU')
TORCH_INDEX := $(if $(filter Linux,$(shell uname -s)),$(if $(CUDA),,--index-url https://download.pytorch.org/whl/cpu))

lab: .venv/.ready  ## open lesson 00 in JupyterLab; on a server: make lab ARGS=--no-browser
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) \
		--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(ARGS)

test: .venv/.browser  ## everything that must pass
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope $(ARGS)

notebooks: .venv/.ready  ## run all lessons and store their outputs
	COURSE_OUTPUTS=stored OMP_NUM_THREADS=1 $(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.store_widget_state=False --ExecutePreprocessor.record_timing=False \
		notebooks/*.ipynb
	$(BIN)/jupyter nbconvert --to notebook --inplace --coalesce-streams notebooks/*.ipynb  # a progress bar is one line

bench: .venv/.ready  ## what a decode step costs on this machine, into data/results
	OMP_NUM_THREADS=1 $(BIN)/python -m course_utils.roofline

bench-widgets: .venv/.browser  ## the flipbook against ipywidgets.interact, in a real browser
	$(BIN)/python -m tests.browser.bench_flipbook

wheel: .venv/.ready  ## the course as one file in dist/
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

constraints: .venv/.ready  ## write down the versions now installed
	$(BIN)/pip freeze --exclude-editable | sed -e 's/+cpu$$//' > constraints.txt

clean:  ## remove what set-up made
	rm -rf .venv dist

help:
	@sed -n 's/^\([a-z-]*\):.*## /make \1: /p' Makefile

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "The course needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv || { echo "On Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --constraint constraints.txt $(TORCH_INDEX) torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $@

.venv/.browser: .venv/.ready  # a browser for the tests: one that is there, or Playwright's own
	@$(BIN)/python -m tests.browser.lab 2>/dev/null || { $(BIN)/playwright install chromium && $(BIN)/python -m tests.browser.lab; }
	@touch $@

.PHONY: lab test notebooks bench bench-widgets wheel constraints clean help
