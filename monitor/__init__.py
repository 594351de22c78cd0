"""A daemon that watches models in production."""
