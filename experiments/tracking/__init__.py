"""MLflow runs: opening, logging, final tables, and logged models."""
