"""The grammar of wrong inputs (tests/bench/wrong_inputs.py)."""
