"""What each process of entry.py would do at its first need, done once in the one that they are
forked from.

It opens no database and starts no thread, as neither outlives a fork.
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
warn_dependency_requirement_mismatches(["numpy"])  # which reads what is installed
keep_operators()
with _quiet():  # it names libraries that are not there
    torch.onnx._internal.exporter._registration.ONNXRegistry.from_torchlib(opset_version=OPSET)
get_checkpoint_conversion_mapping("bert")  # which compiles a thousand expressions
little = DemoConfig(train_rows=60, unlabelled_rows=40, dev_rows=41)  # as entry.py's TINY has it
for task in DEMO_TASKS:
    for rows in (demo_rows(task, "train", little), demo_rows(task, "dev", little)):
        list(rows)  # the process keeps them
picture = matplotlib.figure.Figure()
picture.subplots()
picture.savefig(BytesIO())
gc.freeze()  # else each process visits all of this again when it collects garbage
