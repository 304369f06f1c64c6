"""Reads MLflow runs as a table, and groups them into models."""
