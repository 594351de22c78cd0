"""A daemon that watches models in production."""

__version__ = "0.1.0"
