"""Spark's process that forks its Python workers, with what they import imported once for all.

Spark's own imports nothing; so each worker of a test would import torch, transformers and MLflow
for itself, which takes longer than its work.
"""

import gc

import mlflow.pyfunc
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
import transformers.models.bert.modeling_bert  # noqa: F401
from pyspark.daemon import manager

import experiments.studies.worker  # noqa: F401

if __name__ == "__main__":
    gc.freeze()  # a worker collects garbage after each of its tasks
    manager()
