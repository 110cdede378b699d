# Every target sets up what it needs in .venv; the machine only needs Python, cmake and a C compiler.
PYTHON ?= python3
BOARD  ?= $(or $(HOTPIN_BOARD),auto)
VENV   := .venv
BIN    := $(VENV)/bin
NATIVE := firmware/build-native

# Variables for `make qualify`: PORT=/dev/ttyUSB0, ARGS="-k tts"
BOARD_ARGS  := --board $(BOARD) $(if $(PORT),--port $(PORT))
PYTEST_ARGS := $(BOARD_ARGS) $(ARGS)

# Number of boards at once. Virtual boards mostly wait: eight keep two cores busy. An emulator keeps one core busy.
VIRTUAL_BOARDS := -n 8
EMULATED_BOARDS := -n 2

.DEFAULT_GOAL := help
announce:
	@echo "qualify: with a board this run can end QUALIFIED; without a board, REHEARSED (virtual) at best"

.PHONY: help announce prerequisites setup firmware native qualify allure test test-harness test-suite selftest mutate \
  mutate-python coverage endurance soak explore bench lint check-idf check-headers lock labgrid sbom clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

# Runs before any download: names each missing prerequisite with its remedy.
prerequisites:
	@ok=1; \
	if ! command -v $(PYTHON) >/dev/null; then \
	  echo "error: $(PYTHON) not found. Install Python 3.10 or newer, or name one: make PYTHON=python3.12 …"; ok=0; \
	elif ! $(PYTHON) -c pass 2>/dev/null; then \
	  echo "error: $(PYTHON) does not run. Install Python 3.10 or newer, or name one: make PYTHON=python3.12 …"; ok=0; \
	elif ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then \
	  echo "error: $(PYTHON) is $$($(PYTHON) -V 2>&1); Python 3.10 or newer is needed. Name one: make PYTHON=python3.12 …"; ok=0; \
	elif ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "error: $(PYTHON) has no venv module. On Debian and Ubuntu: apt install python3-venv"; ok=0; \
	fi; \
	if ! command -v cmake >/dev/null; then \
	  echo "error: cmake not found. Install it, for example: apt install cmake (brew install cmake)"; ok=0; \
	fi; \
	if ! command -v cc >/dev/null && ! command -v gcc >/dev/null && ! command -v clang >/dev/null; then \
	  echo "error: no C compiler found. Install one, for example: apt install build-essential (xcode-select --install)"; ok=0; \
	fi; \
	[ $$ok = 1 ]

PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
INSTALL_PLAIN := $(PIP) -c constraints.txt -e '.[dev]'
# LOCKED=1, for CI and images: install only files whose hashes are in requirements.lock.
INSTALL_LOCKED := $(PIP) --require-hashes -r requirements.lock && \
  $(PIP) --no-deps --no-build-isolation -e .

$(VENV)/.ready: pyproject.toml constraints.txt $(if $(LOCKED),requirements.lock) | prerequisites
	$(PYTHON) -m venv $(VENV)
	$(INSTALL_$(if $(LOCKED),LOCKED,PLAIN))
	@touch $@

setup: prerequisites $(VENV)/.ready ## make .venv with all Python packages

native: setup ## build the firmware for the virtual board (firmware/build-native)
	@$(BIN)/hotpin-hil build --board virtual

firmware: setup ## build the firmware for a kind of board (BOARD=auto|hardware|qemu|virtual)
	@$(BIN)/hotpin-hil build $(BOARD_ARGS)

# `kind` reports a wrong BOARD or PORT before anything is built.
qualify: announce setup ## build, run the suite and write build/qualification/latest/ (BOARD=, PORT=, ARGS=)
	@$(BIN)/hotpin-hil kind $(BOARD_ARGS) >/dev/null
	@$(BIN)/hotpin-hil build $(BOARD_ARGS)
	@kind=$$($(BIN)/hotpin-hil kind $(BOARD_ARGS)) || exit; \
	case "$$kind" in virtual) boards="$(VIRTUAL_BOARDS)";; qemu) boards="$(EMULATED_BOARDS)";; esac; \
	$(BIN)/pytest --target esp32 $$boards --allure --require-complete $(PYTEST_ARGS)

allure: setup ## build Allure's site of the last `make qualify` (needs Node.js)
	@if ! command -v npx >/dev/null; then \
	  echo "error: npx not found: Allure 3 needs Node.js 18 or newer (apt install npm, brew install node)"; exit 1; \
	fi
	@run=$$($(BIN)/hotpin-hil runs --latest) || exit; \
	if [ ! -d "$$run/allure-results" ]; then \
	  echo "error: no results in $$run/allure-results: run make qualify first"; exit 1; \
	fi; \
	npx --yes allure@3 awesome --single-file --history-path "$$(dirname "$$run")/allure-history.jsonl" -o "$$run/allure" "$$run/allure-results" && \
	echo "$$run/allure/index.html"

test: test-harness test-suite ## run the tests of harness and C logic, and the suite on the virtual board

test-harness: native
	$(BIN)/pytest tests -n 2 -q

test-suite: native
	$(BIN)/pytest --target esp32 --board virtual $(VIRTUAL_BOARDS)

selftest: setup ## plant each defect of tests/system/defects in the firmware; the suite must catch it (ARGS=NAME)
	$(BIN)/python -m tests.system.defects.run $(ARGS)

# Mutants are drawn from the seed: the same SEED and sources give the same mutants.
mutate: setup ## make random changes to the firmware, list those that no test notices (COMPONENT= N= SEED= ARGS=)
	$(BIN)/python -m tests.mutation.run $(COMPONENT:%=--component %) $(N:%=-n %) $(SEED:%=--seed %) $(ARGS)

mutate-python: setup ## the same for the harness's evidence, analysis and leases (N= SEED=)
	$(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt -e '.[mutation-python]'
	$(BIN)/python -m tests.mutation.python $(N:%=-n %) $(SEED:%=--seed %)

coverage: setup ## list lines and branches of the components that no test reaches
	$(BIN)/python -m tests.mutation.coverage

endurance: native ## run 200 rounds of flash, boot, console, kill and random faults on 50 virtual boards of one process
	$(BIN)/python -m tests.system.endurance.run $(ARGS)

HOURS ?= 8
soak: setup ## repeat random rounds on all boards for some hours, look for leaks (HOURS=8, BOARD=, ARGS="--bench bench.toml -n 4")
	@$(BIN)/hotpin-hil kind $(BOARD_ARGS) >/dev/null
	@$(BIN)/hotpin-hil build $(BOARD_ARGS)
	@kind=$$($(BIN)/hotpin-hil kind $(BOARD_ARGS)) || exit; \
	case "$$kind" in virtual) boards="$(VIRTUAL_BOARDS)";; qemu) boards="$(EMULATED_BOARDS)";; esac; \
	$(BIN)/pytest --target esp32 -m burn_in --hours $(HOURS) $$boards $(PYTEST_ARGS) hil_tests/test_burn_in.py

MINUTES ?= 10
explore: native ## run random scripts on the firmware and on a model of the guide, compare the results, with a fresh seed (MINUTES=10, ARGS="--seed N")
	$(BIN)/python -m tests.model.explore --minutes $(MINUTES) $(ARGS)

bench: native ## measure link, analyser, report and tools, next to the stock tools in the same run
	@status=0; for bench in bench_link bench_analyze bench_tools bench_report; do $(BIN)/python -m tests.system.benchmarks.$$bench || status=1; done; exit $$status

lint: setup ## run ruff, mypy and clang-format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	@if command -v clang-format >/dev/null; then \
	  git ls-files '*.c' '*.h' | xargs clang-format --dry-run --Werror; \
	else echo "clang-format not found: C layout not checked"; fi

check-idf: ## build all configurations and examples of the firmware with ESP-IDF (needs IDF_PATH)
	@firmware/tools/check_idf.sh

check-headers: setup ## check the firmware against ESP-IDF's headers, without its toolchain (IDF=checkout COMPONENTS="dir …")
	@$(BIN)/python firmware/tools/check_headers.py $(if $(IDF),--idf $(IDF)) $(COMPONENTS:%=--component %) $(ARGS)

# uv has a separate environment, so that it runs even if the versions in .venv conflict with each other.
COMPILE := build/uv/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.10 --extra dev \
  --no-emit-index-url --no-annotate --custom-compile-command 'make lock'

lock: prerequisites ## write constraints.txt and requirements.lock from pyproject.toml (UPGRADE=1: newest versions)
	@$(PYTHON) -m venv build/uv && build/uv/bin/pip --disable-pip-version-check install --quiet uv
	$(COMPILE) $(if $(UPGRADE),--upgrade) --extra mutation-python -o constraints.txt
	$(COMPILE) --generate-hashes -c constraints.txt -o requirements.lock

LABGRID := 26.0.1
.venv-labgrid/.ready-$(LABGRID): | prerequisites
	$(PYTHON) -m venv --clear .venv-labgrid
	.venv-labgrid/bin/pip --disable-pip-version-check install --quiet labgrid==$(LABGRID)
	@touch $@

labgrid: .venv-labgrid/.ready-$(LABGRID) ## install labgrid in a separate environment, for boards of a labgrid (docs/bench.md)

sbom: setup ## write the installed packages with licences to build/sbom.json (CycloneDX)
	@$(PYTHON) -m venv build/sbom-tool && build/sbom-tool/bin/pip --disable-pip-version-check install --quiet cyclonedx-bom
	build/sbom-tool/bin/cyclonedx-py environment $(VENV) --pyproject pyproject.toml -o build/sbom.json

clean: ## remove the virtual board's builds and all of build/, evidence included (keeps .venv)
	rm -rf build $(NATIVE) $(NATIVE)-release $(NATIVE)-profile
