# Everything runs from a fresh clone with Python >= 3.11 and nothing else:
#   make demo                                a portrait of the synthetic speaker, learned and speaking
#   make demo CLIP=video.mp4 SPEECH=other.wav   the same with your own video
#   make test                                all tests
#   make check                               formatting, lint, types, import contract, spelling

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Each video has a folder of its own.
DEMO ?= $(if $(CLIP),demo-$(basename $(notdir $(CLIP))),demo)
MINUTES ?= 4
SIZE ?= $(if $(CLIP),256,96)
export GOMP_SPINCOUNT ?= 5000
ifneq ($(wildcard ../shared/models),)
export SSPNERF_MODELS ?= $(abspath ../shared/models)
endif

.PHONY: install demo test check

install: $(VENV)/installed

# The stamp is newer than what decides the installation, or pip runs again.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[prepare,speech,synth,dev]"
	touch $@

demo: install
	PATH="$(abspath $(BIN)):$$PATH" bash examples/demo.sh "$(DEMO)" "$(SIZE)" "$(MINUTES)" "$(CLIP)" "$(SPEECH)"

test: install
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest tests/ops tests/geometry tests/fields tests/render \
	  --jaxtyping-packages=sspnerf,beartype.beartype -m "not refuses and not slow"

check: install
	$(BIN)/ruff format --check src tests examples bench
	$(BIN)/ruff check src tests examples bench
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell src tests docs README.md CHANGELOG.md CONTRIBUTING.md
