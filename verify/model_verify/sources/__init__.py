"""Where the bytes of a model come from."""
