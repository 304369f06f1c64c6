"""Storage on disk: the cache, the run folder with its checkpoints, and pretrained models."""
