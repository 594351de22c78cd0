"""Replay of the detection design on real streams, from plain arrays."""
