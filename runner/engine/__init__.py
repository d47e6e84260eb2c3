"""Many requests sharing one model: who is served when, in which slot, on which prefix."""
