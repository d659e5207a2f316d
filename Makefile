# `make help` lists what there is. Needs make, and a Python >= 3.11 with venv and pip: make book PYTHON=python3.12
SHELL := /bin/bash
.SHELLFLAGS := -eo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
ASSIGNMENT ?= 1
NB ?= $(NOTEBOOKS)
CLAIMS ?= _build/claims-run
WHEEL := $(CURDIR)/_build/wheel

BIN := $(abspath $(VENV))/bin
NOTEBOOKS := $(sort $(shell find book -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*'))
CODE := kpl_lib tests book
PYTEST := $(BIN)/python -m pytest -q
export KPL_CACHE := $(CURDIR)/_build/features
# Idle threads sleep instead of spinning: on a busy machine spinning ones cost most of the time.
export OMP_WAIT_POLICY := passive
# Kernels: those of this environment, without the warnings that no reader can act on.
export JUPYTER_PREFER_ENV_PATH := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1
export PYTHONWARNINGS := ignore:IProgress not found

# The stamp carries a checksum of what is installed: pip runs when pyproject.toml or constraints.txt change, never otherwise.
STAMP ?= $(VENV)/.installed-$(firstword $(shell cat pyproject.toml constraints.txt | cksum))
NO_PYTHON = $(PYTHON) is not a Python 3.11 or newer with venv and pip: install one, or name it, as in make book PYTHON=python3.12

.PHONY: help install book self-checks colab student test-kit site test-site pdf test test-slow test-colab bench check format notebooks lab grade linkcheck set-repository clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv and install everything into it (only when something changed)

$(STAMP):
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo '$(NO_PYTHON)' >&2; exit 2; }
	@echo 'Installing into $(VENV): a few minutes, and about 6 GB on Linux.'
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[book,dev]"
	@rm -f $(VENV)/.installed-*
	@touch $@

book: $(STAMP) ## execute the chapters, build the site and its slides; prints the path of index.html (STRICT=1: every figure must come out)
	@$(BIN)/python -m book.tools build $(if $(filter-out 0,$(STRICT)),--strict)

self-checks: $(STAMP) ## write the questions of book/questions onto their pages, and for a quiz system
	@$(BIN)/python -m book.tools self-checks

colab: $(STAMP) ## the Colab edition of every notebook, in _build/colab: no directives, setup from this commit
	@$(BIN)/python -m book.tools colab

student: $(STAMP) ## the student edition of the built book, without solutions, in _build/student
	@$(BIN)/python -m book.tools student

test-kit: $(STAMP) ## check the slides and the student edition that were made
	$(PYTEST) -m 'site or browser' tests/book/test_student.py tests/book/test_slides.py tests/book/test_assignments.py

site: $(STAMP) ## check the built site: links, alt texts, nothing from the network
	$(PYTEST) -m site tests/book/test_site.py tests/book/test_colab_edition.py

pdf: $(STAMP) ## print the built site as one PDF (needs Chromium); prints its path
	@$(BIN)/python -m book.tools pdf

test-site: $(STAMP) ## open every page in Chromium: errors, widths, images, mathematics, accessibility, search
	$(PYTEST) -m browser --timeout 1200 tests/book/test_browser.py tests/book/test_live_pages.py tests/book/test_pdf.py

test: $(STAMP) ## unit tests, doctests and the structure of the book; then every notebook
	$(PYTEST) -n $(JOBS) --dist loadgroup tests kpl_lib
	$(MAKE) --no-print-directory notebooks

test-slow: $(STAMP) ## the tests that take minutes
	$(PYTEST) -v -x -n $(JOBS) --dist loadgroup -m slow tests || [ $$? -eq 5 ]

test-colab: colab ## unit tests at Colab's versions, then the Colab edition from the wheel (needs shared/colab and the package registry)
	$(BIN)/python tests/house/colab_environment.py $(VENV)-colab
	PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTHONPATH=$(CURDIR) $(abspath $(VENV))-colab/bin/python -m pytest -q \
		-p xdist.plugin -p pytest_timeout -n $(JOBS) --dist loadgroup -W default::DeprecationWarning \
		--ignore tests/house/test_house.py --ignore tests/book/test_build.py tests kpl_lib
	rm -rf $(WHEEL)
	$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w $(WHEEL) .
	$(BIN)/python -m pip -q --python $(abspath $(VENV))-colab/bin/python install --no-deps --force-reinstall $(WHEEL)/*.whl
	cd $(WHEEL) && $(abspath $(VENV))-colab/bin/python -c 'import kpl_lib, sys; sys.exit("site-packages" not in kpl_lib.__file__)'
	@for notebook in $$(find _build/colab -name '*.ipynb' | sort); do echo "$$notebook"; \
		KPL_CACHE=$(WHEEL)/features $(abspath $(VENV))-colab/bin/python -m nbconvert --log-level WARN --to notebook \
			--execute --ExecutePreprocessor.timeout=900 --output-dir $(WHEEL)/run "$$notebook" || exit 1; done

bench: $(STAMP) ## what solvers, encoding and metrics take here, beside the limit of this machine and beside plain code
	@$(BIN)/python tests/speed/bench.py

notebooks: $(STAMP) ## execute the notebooks and check their claims, or one: make notebooks NB=book/chapters/01_name.ipynb
	@rm -rf $(CLAIMS)
	KPL_CLAIMS=$(abspath $(CLAIMS)) OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(PYTEST) -n $(JOBS) -m '' --nbmake --nbmake-timeout=600 $(NB)
	@$(BIN)/python -m book.tools claims report $(CLAIMS) --strict $(if $(filter $(NOTEBOOKS),$(NB)),$(if $(filter-out $(NB),$(NOTEBOOKS)),,--whole))

check: $(STAMP) ## style of code and notebooks, direction of imports, no outputs in notebooks, spelling
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports --no-cache
	$(if $(NOTEBOOKS),$(BIN)/nbstripout --verify $(NOTEBOOKS))
	$(BIN)/codespell

format: $(STAMP) ## bring code and notebooks into that style
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)
	$(if $(NOTEBOOKS),$(BIN)/nbstripout $(NOTEBOOKS))

lab: $(STAMP) ## open the book in JupyterLab
	$(BIN)/jupyter lab book

grade: $(STAMP) ## grade a folder of submissions: make grade SUBMISSIONS=folder ASSIGNMENT=1
	@$(BIN)/python -m book.tools grade '$(SUBMISSIONS)' --assignment '$(ASSIGNMENT)' --seed '$(SEED)'

linkcheck: $(STAMP) ## follow every external link of the book (needs the network)
	PYTHONPATH=. $(BIN)/jupyter-book build book --builder linkcheck

set-repository: $(STAMP) ## change the repository's address everywhere: make set-repository URL=...
	@$(BIN)/python -m book.tools set-repository '$(URL)'

clean: ## remove what was built; .venv stays
	rm -rf _build build dist .pytest_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -prune -exec rm -rf {} +
