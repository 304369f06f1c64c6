"""Optuna's studies: what is searched, how trials are drawn, made, pruned and compared."""
