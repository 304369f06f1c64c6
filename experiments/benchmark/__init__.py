"""Benchmarks of MKD itself: they measure time, and log no run."""
