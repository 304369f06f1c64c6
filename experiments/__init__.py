"""Entry points: each parses settings, opens an MLflow run, calls the core and logs the result."""
