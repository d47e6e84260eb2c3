"""Time from starting the process to the first character of the answer: `llstore run` beside llama-cpp-python's `Llama`.

Usage: python benchmarks/first_token.py
Both load the same file with the same llama.cpp, read the same prompt in the model's own template, and stream.
"""

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))

import models
from measure import ROUNDS, machine, ratio, spread, timed

BIN = Path(sys.executable).parent
SYSTEM, QUESTION = "You are a helpful assistant.", "Name the capital of France."
PEER = """
import sys
from llama_cpp import Llama
model = Llama(sys.argv[1], n_ctx=2048, verbose=False)
messages = [{"role": "system", "content": sys.argv[2]}, {"role": "user", "content": sys.argv[3]}]
for chunk in model.create_chat_completion(messages, temperature=0, max_tokens=16, stream=True):
    print(chunk["choices"][0]["delta"].get("content", ""), end="", flush=True)
"""


def main() -> None:
    path = models.fetch("smollm2")
    with tempfile.TemporaryDirectory() as home:
        os.environ["LLSTORE_HOME"] = home
        llstore = BIN / "llstore"
        timed([llstore, "put", path, "--name", "bench/model"])
        words = ["-p", QUESTION, "--system", SYSTEM, "--temperature", "0", "--max-tokens", "16"]
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(timed([llstore, "run", str(models.MODELS["smollm2"].digest), *words]).first_byte)
            theirs.append(timed([sys.executable, "-c", PEER, path, SYSTEM, QUESTION]).first_byte)
    print(f"SmolLM2-135M Q4_1, {ROUNDS} alternating rounds, {machine()}")
    print(f"llstore run: {spread(ours, unit='s', digits=3)}")
    print(f"llama-cpp-python's Llama: {spread(theirs, unit='s', digits=3)}")
    print(f"first character: llstore is {ratio(ours, theirs)} Llama")


if __name__ == "__main__":
    main()
