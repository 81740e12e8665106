# Every target sets up what it needs: a virtual environment with the pinned versions of
# constraints.txt. `make PYTHON=python3.12 test` uses another interpreter.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help demo test lint format docs bench bench-train clean

help:
	@echo "make demo    train VRLVMix against plain cross-entropy on digits with wrong labels"
	@echo "make test    run the tests, the doctests and every code block of the documentation"
	@echo "make lint    check style and types"
	@echo "make docs    build the documentation into docs/_build"
	@echo "make bench   time the kernels beside what a user would pick instead, into docs/benchmarks.md"
	@echo "make bench-train   time the trainer, and kill it 20 times"

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/noisyselect demo --out runs/demo

# Two workers with one thread each: the tests are many and small.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --quiet

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED)
	$(BIN)/sphinx-build --fail-on-warning --quiet docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

bench: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/kernels.py --out docs

bench-train: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/step_cost.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/train_speed.py
	$(BIN)/python benchmarks/kill.py

clean:
	rm -rf .venv docs/_build .mypy_cache .pytest_cache .ruff_cache
