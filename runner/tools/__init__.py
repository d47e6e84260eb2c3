"""Tools that a model may call: how each family of models is told of them, made to call them, and understood."""
