"""Entry points: each parses a Config, opens an MLflow run, calls the core and records what came out."""
