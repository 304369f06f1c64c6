"""The report: reads runs from MLflow, and shows quality against inference speed."""
