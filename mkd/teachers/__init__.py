"""What teaches each task."""
