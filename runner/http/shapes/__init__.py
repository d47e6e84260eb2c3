"""What clients send, field by field: OpenAI's names, llama-server's extensions, and nothing else."""
