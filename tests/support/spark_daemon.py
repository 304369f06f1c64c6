"""Spark's daemon that forks Python workers, with their imports made once in advance.

Spark's own daemon imports nothing, so each worker would import torch, transformers and MLflow
itself, which takes longer than its work.
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
