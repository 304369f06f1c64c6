"""Runs in MLflow: opened, told of while they work, recorded, and the models that they leave."""
