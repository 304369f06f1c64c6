"""Generators of wrong inputs for tests/bench/wrong_inputs.py."""
