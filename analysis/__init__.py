"""Reads what runs left in MLflow and draws it: quality against inference speed."""
