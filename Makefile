# make demo: the whole job on embedded data.  make test: what to run while you work.
# make test-all, make lint: what .ci/run runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SEED ?= 0
# Two processes, each with whole files: a file's tests share networks. Hosts that train together run alone, for they time out.
TWO := -n 2 --dist loadfile
FAST := $(BIN)/python -m pytest -m "not slow" $(TWO)
HOSTS := tests/training/test_distribution.py

.PHONY: setup demo test test-all docs parity lint clean

setup: $(READY)

$(READY): setup.py constraints.txt
	@echo "== setting up $(VENV) (about a minute; downloads TensorFlow the first time)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(READY)
	@echo "== supervised, PseudoSeg and PseudoSeg with image labels on the embedded data, 1/16 of the masks"
	$(BIN)/python tools/demo.py --output=runs/demo --seed=$(SEED)

# A test is slow if it takes more than about 10 seconds, starts other processes, or repeats a fast one in another size.
test: $(READY)
	@echo "== the fast tests (those that need ../shared skip without it)"
	$(FAST)

test-all: $(READY)
	@echo "== all tests, the fast ones first (those that need ../shared skip without it)"
	$(FAST)
	$(BIN)/python -m pytest -m slow --ignore=$(HOSTS) $(TWO)
	$(BIN)/python -m pytest -m slow $(HOSTS)

docs: $(READY)
	@echo "== the documentation as a site, in build/site"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

parity: $(READY)
	@echo "== every comparison with the original's tensors, and how far each is off"
	$(BIN)/python -m pytest -m parity --parity-table -o addopts=-q --no-header

lint: $(READY)
	@echo "== lint, format, types, layers"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy wss datasets tools
	$(BIN)/lint-imports --no-logo

clean:
	rm -rf $(VENV) runs
