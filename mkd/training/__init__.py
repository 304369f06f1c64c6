"""The training loop and all that it is made of: batches, losses, schedules, optimiser, state, processes."""
