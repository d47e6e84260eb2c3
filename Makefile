# The project's habits, one word each. Every target may be repeated; the second time is quick.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# CMAKE_ARGS reaches llama.cpp's build (CMAKE_ARGS="-DGGML_CUDA=on" make demo); pip's cached build is then not used.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SOURCES := pyproject.toml README.md $(shell find store runner cli -name '*.py')
SMOLLM2 := b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

.PHONY: demo test check soak bench clean

demo: $(VENV)/llstore.stamp
	$(BIN)/llstore put "$$($(BIN)/python fixtures/models.py smollm2)" --name demo/smollm2
	$(BIN)/llstore run $(SMOLLM2) -p "Name the capital of France." \
		--system "You are a helpful assistant." --temperature 0

# Four at once, also on two cores: many tests wait for a process or a server. Those of one file keep to one process, and
# share what it set up; the files come in the order of tests/conftest.py, the longest first.
test: check
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder --durations=25

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml -p llstore.store -p llstore.runner -p llstore.cli

# The fault lab's long campaigns, 20 minutes at most; `make soak KILLS=1000 SOAK_SECONDS=4500` for more of them.
# Then a race of writers and collectors, ten minutes of mutated headers, and every vocabulary read as gguf-py reads it.
# Then a server that is asked all that its OpenAPI document allows, and by a thousand clients at once.
KILLS ?= 200
SOAK_SECONDS ?= 1200
FUZZ_SECONDS ?= 600
SERVE_SECONDS ?= 3600
soak: $(VENV)/dev.stamp
	LLSTORE_SOAK=1 LLSTORE_KILLS=$(KILLS) LLSTORE_SEEDS=2 LLSTORE_LAB_BYTES=1006632960 \
		timeout $(SOAK_SECONDS) $(BIN)/python -m pytest tests/lab --durations=12 \
		--ignore=tests/lab/test_gate_fuzz.py --ignore=tests/lab/test_race.py
	LLSTORE_SOAK=1 LLSTORE_FUZZ_SECONDS=$(FUZZ_SECONDS) timeout $$(($(FUZZ_SECONDS) * 5 / 4 + 400)) \
		$(BIN)/python -m pytest tests/lab/test_race.py tests/lab/test_gate_fuzz.py tests/store/test_gguf_vocabs.py --durations=5
	LLSTORE_SOAK=1 timeout $(SERVE_SECONDS) $(BIN)/python -m pytest tests/http/test_openapi.py tests/http/test_many_clients.py

# LLSTORE_PEERS=DIR holds llama-bench, llama-batched-bench and llama-server (docs/bench.md); without it the engine runs alone.
bench: $(VENV)/bench.stamp
	$(BIN)/python benchmarks/promises.py
	$(BIN)/python benchmarks/served_promises.py
	$(BIN)/python benchmarks/transfer.py
	$(BIN)/python benchmarks/stored.py
	$(BIN)/python benchmarks/catalog.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/first_token.py
	for model in smollm2 gemma; do $(BIN)/python benchmarks/engine.py --model $$model || exit 1; done
	for model in smollm2 gemma; do $(BIN)/python benchmarks/same_text.py --model $$model || exit 1; done
	for model in smollm2 gemma; do $(BIN)/python benchmarks/serve.py --model $$model || exit 1; done

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# llama-cpp-python is compiled here, once: 5 to 15 minutes on two cores.
$(VENV)/run.stamp: constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing llama-cpp-python; compiling it takes some minutes the first time"
	$(PIP) $(if $(CMAKE_ARGS),--no-cache-dir) llama-cpp-python jinja2 numpy
	touch $@

# Installed as a wheel, as users have it: a module missing from the wheel shows at once.
$(VENV)/llstore.stamp: $(VENV)/run.stamp $(SOURCES)
	rm -rf build
	$(PIP) ".[serve]"
	$(PIP) --force-reinstall --no-deps .
	touch $@

$(VENV)/dev.stamp: $(VENV)/llstore.stamp
	$(PIP) ".[serve,client,dev]"
	touch $@

$(VENV)/bench.stamp: $(VENV)/dev.stamp
	$(PIP) ".[serve,client,dev,bench]"
	touch $@
