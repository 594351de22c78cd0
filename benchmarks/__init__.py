"""Measurements that take longer than a test may; every figure in the documentation is printed by one of them."""
