# `make demo` and `make test` each set up what they need in .venv; use another Python with `make PYTHON=python3.12 test`.
PYTHON ?= python3
BIN := .venv/bin
OUT := demo_output
# CI sets CONSTRAINTS to a file with the versions that it takes.
PIP = $(BIN)/python -m pip install --quiet $(addprefix --constraint ,$(CONSTRAINTS))

.PHONY: demo test test-slow test-browser test-notebooks test-torch faults faults-short lint docs clean

demo: .venv/runtime
	rm -rf $(OUT)
	@echo "--- 1. Blurred photographs, restored with the weights that come with the package"
	$(BIN)/python organize_gopro_dataset.py --dir_in tests/data/GOPRO_crops --dir_out $(OUT)/images
	$(BIN)/deblurgan deblur $(OUT)/images/test/A --output_dir $(OUT)/restored
	$(BIN)/deblurgan test --input_dir $(OUT)/images/test --output_dir $(OUT)/side_by_side
	$(BIN)/deblurgan evaluate --input_dir $(OUT)/images/test \
		--csv $(OUT)/scores.csv --json $(OUT)/scores.json > $(OUT)/scores.txt
	@cat $(OUT)/scores.txt
	@echo
	@echo "--- 2. The tutorial's own pipeline, for its first steps: train its network from nothing, deblur with it"
	$(BIN)/python train.py --input_dir $(OUT)/images/train --output_dir $(OUT)/weights --run tutorial \
		--batch_size 2 --epoch_num 2 --image_size 128
	$(BIN)/python deblur.py --weight_path $(OUT)/weights/tutorial --input_dir $(OUT)/images/test/A \
		--output_dir $(OUT)/tutorial
	@echo
	@echo "Everything worked. Look at:"
	@echo "  $(OUT)/side_by_side/results0.png, 1, 2   sharp | blurred | restored"
	@echo "  $(OUT)/restored/                         the restored pictures, beside $(OUT)/images/test/A"
	@echo "  $(OUT)/scores.txt, .csv, .json           the table above"
	@echo "  $(OUT)/tutorial/                         the tutorial's network after six steps of training. It has learnt"
	@echo "      next to nothing: what it puts out is half of its input, washed out. docs/tutorial.md tells"
	@echo "      how long a training takes."
	@echo "Your own photograph: $(BIN)/deblurgan deblur photo.jpg"

test: .venv/dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-slow: .venv/dev
	$(BIN)/python -m pytest --numprocesses 2 -m slow

test-browser: .venv/browser
	@command -v chromium > /dev/null || { echo "test-browser: expected the program chromium, found none;" \
		"on Debian: apt-get install chromium"; exit 1; }
	$(BIN)/python -m pytest -m browser tests/web

test-notebooks: .venv/dev
	$(BIN)/python -m pytest --numprocesses 2 -m notebooks

test-torch: .venv/torch
	$(BIN)/python -m pytest -m torch

faults: .venv/dev  # one of the three mostly waits for an hour
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal -m faults --whole --table docs/faults.md tests/faults

faults-short: .venv/dev
	$(BIN)/python -m pytest --numprocesses 2 -m faults tests/faults

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

clean:
	rm -rf .venv $(OUT) site .pytest_cache .mypy_cache .ruff_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/runtime: .venv/bin/python pyproject.toml
	$(PIP) --editable .
	touch $@

.venv/dev: .venv/bin/python pyproject.toml
	$(PIP) --editable '.[dev]'
	touch $@

.venv/docs: .venv/bin/python pyproject.toml
	$(PIP) --editable '.[docs]'
	touch $@

.venv/browser: .venv/dev
	$(PIP) --editable '.[browser]'
	touch $@

.venv/torch: .venv/dev
	$(PIP) --editable '.[torch]'
	touch $@
