"""The training loop and its components: batches, losses, schedules, optimisers and saved state."""
