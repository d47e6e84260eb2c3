"""Many prompts from a file, answered in order into another."""
