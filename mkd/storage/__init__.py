"""What is kept on disk: results under keys of all that they depend on, a run's folder, checkpoints of others."""
