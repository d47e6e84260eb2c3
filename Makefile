# The project's habits, one word each. Every target may be repeated; the second time is quick.

PYTHON ?= python3
VENV ?= .venv
ifneq ($(words [$(VENV)])$(if $(VENV),,none),1)
$(error make cannot install into "$(VENV)", a name that is empty or has spaces; run: $(PYTHON) install --venv "$(VENV)" --extras all)
endif
BIN := $(VENV)/bin
# CMAKE_ARGS reaches llama.cpp's build: CMAKE_ARGS="-DGGML_CUDA=on" make demo (docs/build.md).
INSTALL := $(PYTHON) install --venv $(VENV) --extras
INSTALLER := pyproject.toml constraints.txt $(wildcard install/*)
SOURCES := README.md $(shell find store runner cli -name '*.py')

# Each of the tests' processes would compile again what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo install test check soak bench bench-gpu relock clean FORCE

demo: $(VENV)/run.stamp
	$(BIN)/llstore demo

# Any set of the extras in pyproject.toml: make install EXTRAS=serve,client
EXTRAS ?= all
install:
	rm -rf build
	$(INSTALL) '$(EXTRAS)'

# Four at once, also on two cores: many tests wait for a process or a server. Those of one file keep to one process, and
# share what it set up; the files come in the order of tests/conftest.py, the longest first.
test: check
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder --durations=25

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml -p llstore.store -p llstore.runner -p llstore.cli
	$(BIN)/mypy --config-file pyproject.toml install/*.py

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

# On a machine with a GPU, ten minutes at most (docs/gpu.md): CMAKE_ARGS="-DGGML_CUDA=on" make bench-gpu OUT=gpu.md
MINUTES ?= 10
bench-gpu: $(VENV)/bench.stamp
	$(BIN)/python benchmarks/gpu.py --minutes $(MINUTES) $(if $(OUT),--out $(OUT))

# Both locks, with the versions as they are; RELOCK=--upgrade takes newer ones.
relock: $(VENV)/run.stamp
	$(PYTHON) install/relock.py $(VENV) $(RELOCK)

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# llstore is installed as a wheel, as users have it: a module missing from the wheel shows at once. llama.cpp is compiled
# once for all clones of a user; a build folder of setuptools would bring back modules that were deleted.
comma := ,
define installed
	rm -rf build
	$(INSTALL) $(1)
	@touch $@
endef

$(VENV)/run.stamp: $(INSTALLER) $(SOURCES) $(VENV)/cmake_args.txt
	$(call installed,run)

$(VENV)/dev.stamp: $(INSTALLER) $(SOURCES) $(VENV)/cmake_args.txt
	$(call installed,serve$(comma)client$(comma)dev)

$(VENV)/bench.stamp: $(INSTALLER) $(SOURCES) $(VENV)/cmake_args.txt
	$(call installed,serve$(comma)client$(comma)dev$(comma)bench)

said = printf '%s\n' '$(subst ','\'',$(CMAKE_ARGS))'

# Written only when it changes, so that other CMAKE_ARGS are another build.
$(VENV)/cmake_args.txt: FORCE
	@{ mkdir -p $(VENV) && { $(said) | cmp -s - $@ || $(said) >$@; }; } 2>/dev/null || \
		{ echo 'error: $(VENV) cannot be written; name another folder: make VENV=DIR' >&2; exit 1; }
