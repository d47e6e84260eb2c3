"""Comings and goings: models from Hugging Face and Ollama, bundles, and copies of a store in another."""
