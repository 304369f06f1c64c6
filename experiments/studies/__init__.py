"""Optuna studies: search space, workers, pruning, results, and ablations."""
