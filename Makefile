PYTHON ?= python3
BIN := .venv/bin

lab: .venv/.ready  ## open lesson 00, your own copy, in JupyterLab; on a server: make lab ARGS=--no-browser
	@$(BIN)/python start.py open $(ARGS)

newer: .venv/.ready  ## lessons that are newer in the course, beside your copies, with your answers
	@$(BIN)/python -m course_utils.copies newer

fresh: .venv/.ready  ## one lesson anew, beside your copy: make fresh LESSON=04
	$(if $(LESSON),,$(error Name a lesson, as in: make fresh LESSON=04))
	@$(BIN)/python -m course_utils.copies fresh "$(LESSON)"

assess: .venv/.ready  ## judge notebooks handed in, each answer in a sandbox: make assess FOLDER=handed_in
	$(if $(FOLDER),,$(error Name the folder of what was handed in, as in: make assess FOLDER=handed_in))
	@$(BIN)/python -m makers.assess "$(FOLDER)" "$(SEED)" "$(ISOLATION)"

slides: .venv/.ready  ## every lesson as slides that need no network, in slides/; one: make slides LESSON=06
	@$(BIN)/python -m makers.slides $(LESSON)

slides-live: .venv-live/.ready  ## a lesson as slides with a kernel behind them: make slides-live LESSON=06
	$(if $(LESSON),,$(error Name a lesson, as in: make slides-live LESSON=06))
	@start=$$(.venv-live/bin/python -m makers.slides.live "$(LESSON)") && COURSE_PROGRESS=off .venv-live/bin/jupyter lab \
		$(if $(filter 0,$(shell id -u)),--allow-root) --LabApp.default_url=/lab/tree/$$start $(ARGS)

site: .venv/.ready  ## the course as pages that need nothing installed, in site/
	@$(BIN)/python -m makers.site

links: .venv/.ready  ## which links of the lessons to the outside are dead
	@$(BIN)/python -m makers.site links

test: .venv/.browser .venv-live/.ready  ## everything that must pass
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --no-loadscope-reorder $(ARGS)

test-colab: .venv/.browser .venv-colab/.ready  ## every lesson as in Google Colab: its versions, no clone
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/colab/test_*.py $(ARGS)

STUDENTS ?= 40

test-hub: .venv-hub/.ready  ## a class of 40 on a real JupyterHub, into data/results; fewer: make test-hub STUDENTS=6
	.venv-hub/bin/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall .
	STUDENTS="$(STUDENTS)" .venv-hub/bin/python -m pytest tests/hub/test_class.py $(ARGS)

notebooks: .venv/.ready  ## run all lessons and store their outputs
	COURSE_OUTPUTS=stored COURSE_PROGRESS=off OMP_NUM_THREADS=1 $(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.store_widget_state=False --ExecutePreprocessor.record_timing=False \
		notebooks/*.ipynb
	$(BIN)/jupyter nbconvert --to notebook --inplace --coalesce-streams notebooks/*.ipynb  # a progress bar is one line

bench: .venv/.ready  ## what a token costs on this machine, a GPU if it has one, into data/results
	OMP_NUM_THREADS=1 $(BIN)/python -m makers.decode_times

bench-kernels: .venv/.ready  ## what each lesson takes of a machine, into data/results
	$(BIN)/python -m makers.kernels

bench-widgets: .venv/.browser  ## the flipbook against ipywidgets.interact, and the calculator, in a real browser
	$(BIN)/python -m tests.browser.bench_flipbook

bench-site: .venv/.browser  ## how soon the pages of make site are there, on a phone's network
	$(BIN)/python -m tests.browser.bench_site

wheel: .venv/.ready  ## the course as one file in dist/
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

REPO ?= $(shell git remote get-url origin 2>/dev/null)

publish: .venv/.ready  ## name where on GitHub lessons and pages are: make publish REPO=owner/name
	@$(BIN)/python -m makers.publish "$(REPO)" "$(TAG)"
	@touch .venv/.ready  # pyproject.toml is newer, but what it installs is the same

unpublish: .venv/.ready  ## take that back
	@$(BIN)/python -m makers.publish
	@touch .venv/.ready

constraints: .venv/.ready  ## write down the versions now installed
	$(BIN)/pip freeze --exclude-editable | sed -e 's/+cpu$$//' > constraints.txt

clean:  ## remove what set-up made
	rm -rf .venv .venv-colab .venv-hub .venv-live dist site slides

help:
	@sed -n 's/^\([a-z-]*\):.*## /make \1: /p' Makefile

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) start.py set-up

.venv/.browser: .venv/.ready  # a browser for the tests: one that is there, or Playwright's own
	@$(BIN)/python -m tests.browser.lab 2>/dev/null || { $(BIN)/playwright install chromium && $(BIN)/python -m tests.browser.lab; }
	@touch $@

# What Colab's image has, torch aside: that is the one the course is tested with, without CUDA.
.venv-colab/.ready: tests/colab/versions.txt constraints.txt
	rm -rf .venv-colab
	@$(PYTHON) start.py set-up .venv-colab --requirement tests/colab/versions.txt torch

# Live slides show no control with the jupyterlab_widgets that ipywidgets 8 asks for: an older one does.
.venv-live/.ready: pyproject.toml constraints.txt
	rm -rf .venv-live
	@$(PYTHON) start.py set-up .venv-live --constraint constraints.txt --editable . jupyterlab-rise==0.43.1
	.venv-live/bin/pip install --quiet --disable-pip-version-check --no-deps jupyterlab_widgets==3.0.10

# As the image for hubs is made, and what plays a class there; Node is a wheel, the proxy comes from npm.
.venv-hub/.ready: deploy/requirements.txt tests/hub/requirements.txt pyproject.toml constraints.txt
	rm -rf .venv-hub
	@$(PYTHON) start.py set-up .venv-hub --constraint constraints.txt --requirement deploy/requirements.txt .
	.venv-hub/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--requirement tests/hub/requirements.txt
	.venv-hub/bin/npm install --loglevel=error --no-audit --no-fund --prefix .venv-hub configurable-http-proxy@5.3.0

.DELETE_ON_ERROR:

.PHONY: lab newer fresh assess slides slides-live site links test test-colab test-hub notebooks bench bench-kernels bench-widgets bench-site wheel publish unpublish constraints clean help
