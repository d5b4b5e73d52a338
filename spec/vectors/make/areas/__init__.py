"""One module per area of vectors; each has `vectors()`."""
