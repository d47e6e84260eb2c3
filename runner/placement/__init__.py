"""Where a model's layers go and with which settings it runs on this machine (docs/placement.md).

The choice is a plain function of what a GGUF header says and what the machine has free; llama.cpp is asked for the GPUs
alone, and only by `measured`.
"""
