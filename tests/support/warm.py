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
import transformers.models.bert.modeling_bert  # noqa: F401
from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches
from sqlalchemy.orm import configure_mappers

from experiments import cli
from experiments.settings import DistillSettings

cli.parse([], "", DistillSettings)
configure_mappers()
warn_dependency_requirement_mismatches(["numpy"])  # which reads what is installed
picture = matplotlib.figure.Figure()
picture.subplots()
picture.savefig(BytesIO())
gc.freeze()  # else each process visits all of this again when it collects garbage
