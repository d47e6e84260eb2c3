"""The process that tries kernels, and may die of it: `python -m llstore.runner.kernels.kernel_trial CASES LIFELINE`.

CASES is JSON, as `argument` writes it, LIFELINE the descriptor of a pipe whose other end the parent holds. The process
prints the number of each case that it has survived, from 0.
"""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict

from ..engine.lifeline import die_quietly, tie
from .kernels import Case, Kernels
from .tiny_model import CONTEXT, tiny_model

SECONDS = 30  # for each case; a kernel that takes longer is as good as dead
TOKENS = 64  # of the prompt: kernels for many rows differ from those for one
WRONG = 3  # exit code of a process that computed another token than the model's


def main(text: str, lifeline: int) -> None:
    """Tries each case in turn."""
    tie(lifeline)
    die_quietly()
    for number, case in enumerate(_read(text)):
        signal.alarm(SECONDS)
        if not _computes(case):
            os._exit(WRONG)
        os.write(sys.stdout.fileno(), f"{number}\n".encode())
    os._exit(0)


def argument(cases: Sequence[Case]) -> str:
    """What the process is told."""
    return json.dumps([[case.weights, asdict(case.kernels)] for case in cases])


def _read(text: str) -> list[Case]:
    return [Case(weights, Kernels(**kernels)) for weights, kernels in json.loads(text)]


def _computes(case: Case) -> bool:
    """Whether the model's own token follows a prompt, and another one follows that."""
    # Only this process may load llama.cpp for it.
    from ..engine_settings import EngineSettings
    from ..llama.context import LlamaContext
    from ..llama.model import LlamaModel, Loading

    kernels = case.kernels
    loading = Loading(gpu_layers=None if kernels.gpu else 0, repack=kernels.repack)
    settings = EngineSettings(
        CONTEXT,
        flash_attention=kernels.flash_attention,
        key_type=kernels.key_type,
        value_type=kernels.value_type,
        repack=kernels.repack,
    )
    with tempfile.TemporaryFile() as file:
        file.write(tiny_model(case.weights))
        file.flush()
        with LlamaModel(file.fileno(), loading) as model, LlamaContext(model, settings) as context:
            context.prefill(0, [ord("a")] * TOKENS, logits=True)
            after_prompt = int(context.logits()[0].argmax())
            context.step([0], [after_prompt])
            return [after_prompt, int(context.logits()[0].argmax())] == [ord("b"), ord("c")]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
