"""Intervals of differences between models, over seeds and resampled dev rows."""
