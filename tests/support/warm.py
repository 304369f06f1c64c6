"""Imports and fills caches once, in the process from which those of entry.py are forked.

It opens no database and starts no thread, as neither survives a fork.
"""

import gc
from io import BytesIO

import alembic.command  # noqa: F401
import docstring_parser  # noqa: F401
import git  # noqa: F401
import matplotlib.figure
import mlflow.pyfunc.model
import mlflow.store.tracking.file_store
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
import onnxscript  # noqa: F401
import pyarrow.pandas_compat  # noqa: F401
import sqlalchemy.dialects.sqlite  # noqa: F401
import torch._functorch.aot_autograd
import torch.export._trace
import torch.onnx._internal.exporter._compat
import transformers.models.bert.modeling_bert  # noqa: F401
from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches
from sqlalchemy.orm import configure_mappers
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from experiments import cli
from experiments.settings import DistillSettings
from mkd.config import DemoConfig
from mkd.export.folder import OPSET, _quiet
from mkd.tasks.demo import DEMO_TASKS, demo_rows
from tests.support.exporter import keep_operators

cli.parse([], "", DistillSettings)
configure_mappers()
warn_dependency_requirement_mismatches(["numpy"])  # caches the list of installed packages
keep_operators()
with _quiet():  # it prints the names of missing libraries
    torch.onnx._internal.exporter._registration.ONNXRegistry.from_torchlib(opset_version=OPSET)
get_checkpoint_conversion_mapping("bert")  # compiles a thousand regular expressions
little = DemoConfig(train_rows=60, unlabelled_rows=40, dev_rows=41)  # like TINY of entry.py
for task in DEMO_TASKS:
    for rows in (demo_rows(task, "train", little), demo_rows(task, "dev", little)):
        list(rows)  # caches them
picture = matplotlib.figure.Figure()
picture.subplots()
picture.savefig(BytesIO())
gc.freeze()  # otherwise each process traverses all of this at garbage collection
