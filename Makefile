# `make demo` and `make test` each set up what they need in .venv; use another Python with `make PYTHON=python3.12 test`.
PYTHON ?= python3
BIN := .venv/bin
OUT := demo_output

.PHONY: demo test lint clean

demo: .venv/runtime
	rm -rf $(OUT)
	$(BIN)/python organize_gopro_dataset.py --dir_in tests/data/GOPRO_crops --dir_out $(OUT)/images
	$(BIN)/python train.py --input_dir $(OUT)/images/train --output_dir $(OUT)/weights --run demo \
		--batch_size 2 --epoch_num 4
	$(BIN)/python deblur.py --weight_path $(OUT)/weights/demo/generator_best.weights.h5 \
		--input_dir $(OUT)/images/test/A --output_dir $(OUT)/deblurred
	$(BIN)/deblurgan test --weight_path $(OUT)/weights/demo/generator_best.weights.h5 \
		--input_dir $(OUT)/images/test --output_dir $(OUT)/strips
	$(BIN)/deblurgan evaluate --weight_path $(OUT)/weights/demo/generator_best.weights.h5 \
		--input_dir $(OUT)/images/test --csv $(OUT)/scores.csv --json $(OUT)/scores.json > $(OUT)/scores.txt
	@cat $(OUT)/scores.txt
	@echo
	@echo "Everything worked. Twelve training steps teach the network next to nothing: the result is washed out, since"
	@echo "it is still little but half of the input, and scores below it. The README tells how long a training takes."
	@echo "  restored pictures:                    $(OUT)/deblurred"
	@echo "  side by side (sharp|blurred|restored): $(OUT)/strips/results0.png"
	@echo "  the table above:                      $(OUT)/scores.txt, scores.csv, scores.json"

test: .venv/dev
	$(BIN)/python -m pytest

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:
	rm -rf .venv $(OUT) .pytest_cache .mypy_cache .ruff_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/runtime: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
