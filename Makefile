# make bench: from a clean clone to a leaderboard.   make test: the tests.   make speed: ratios, side by side.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Pinned and first: a bare "torch" may pull gigabytes of CUDA.
TORCH ?= torch==2.13.0

.PHONY: bench test slow goldens speed check install weights train-fakereasoning train-fakereasoning-gpu clean

bench: install
	$(BIN)/fdr-bench run --models all

# One thread in each of two processes: torch's own threads would stand in each other's way.
test: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

slow: install
	$(BIN)/pytest -m "slow and not gpu"

# Agreement with the authors' code, the largest networks (up to 900 million parameters) included.
goldens: install
	OMP_NUM_THREADS=2 $(BIN)/pytest -m goldens

speed: install
	$(BIN)/python -m tests.speed

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fdr-bench needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

# Train what belongs into baselines/weights: one generator of FDR-Scenes, 6,000 images. What is there already is kept.
OWN_BACKBONE := cnndetection npr freqnet gramnet
ON_OTHERS := aide c2p-clip de-fake drct effort fatformer lgrad spai
TRAIN_SCENES = $(BIN)/fdr-bench train $$name --data 'scenes:train?n=6000' --size scenes --threads 1 --out baselines/weights/$$name-scenes
weights: install
	for name in $(OWN_BACKBONE); do $(TRAIN_SCENES) || exit 1; done
	$(BIN)/python -m baselines.train_clip --data 'scenes:train?n=6000' --threads 2 --out baselines/weights/clip-scenes
	$(BIN)/fdr-bench train univfd --data 'scenes:train?n=6000' --size scenes --threads 2 --out baselines/weights/univfd-scenes
	$(BIN)/python -m baselines.train_mfm --data 'scenes:train?n=6000' --threads 1 --out baselines/weights/spai-mfm
	for name in $(ON_OTHERS); do $(TRAIN_SCENES) || exit 1; done

# FakeReasoning from nothing: words, base, FACL, tuning and calibration; a killed training goes on where it was.
FR = $(BIN)/python -m fakereasoning train --threads 2
train-fakereasoning: install
	$(FR) --data 'scenes:train?n=30000' --stages words,base,facl --max-minutes words=8,base=7,facl=10 --out weights/seen
	$(FR) --start weights/seen --stages tune --data 'scenes:train?n=60000' --validation scenes:val --max-minutes tune=64 --out weights/fakereasoning
	mkdir -p fakereasoning/weights/scenes
	cd weights/fakereasoning && cp card.json config.json tokenizer.json calibration.json model.safetensors ../../fakereasoning/weights/scenes/

# Words, base and FACL on a GPU, in six minutes of an H200; then tuning on two cores. docs/fakereasoning.md has what was run for
# the shipped weights.
FR_GPU = $(BIN)/python -m fakereasoning train --recipe nano-gpu --data 'scenes:train?n=30000' --device cuda --threads 6
train-fakereasoning-gpu: install
	$(FR_GPU) --stages words,base --max-minutes words=1.1,base=2.12 --out weights/base
	$(FR_GPU) --start weights/base --stages facl --max-minutes facl=2.45 --out weights/facl
	$(BIN)/python -m fakereasoning train --start weights/facl --stages tune --data 'scenes:train?n=30000' --validation scenes:val --threads 2 --set tune.steps=4000 --max-minutes tune=60 --out weights/fakereasoning
	mkdir -p fakereasoning/weights/scenes fakereasoning/weights/base
	cd weights/base && cp card.json config.json tokenizer.json model.safetensors ../../fakereasoning/weights/base/
	cd weights/fakereasoning && cp card.json config.json tokenizer.json calibration.json model.safetensors ../../fakereasoning/weights/scenes/

clean:
	rm -rf $(VENV) runs
