"""Which of llama.cpp's kernels this machine can run: tried once with a tiny model, before a real one is loaded."""
