"""What can be said of differences between models: seeds, and paired resamples of the dev rows."""
