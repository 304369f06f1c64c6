"""MLflow's runs as a table, and the models that they are runs of."""
