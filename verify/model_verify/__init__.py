"""Check how model weights came to be: everything that a verdict rests on."""

__version__ = "0.1.0"
