"""Labels a corpus of texts in Parquet with a logged model, by MLflow's Spark UDF.

Settings are checked before Spark starts. pyspark is the extra `spark`, and is imported only then.
"""

import importlib.util
import logging
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pyarrow as pa
import pyarrow.dataset
from mlflow.exceptions import ExecutionException

from experiments.settings import LabelConfig
from mkd import names
from mkd.storage.addresses import first_line
from mkd.storage.disk import check_output, check_room
from mkd.storage.pretrained import config_values
from mkd.storage.written import put_in_place
from mkd.tasks.files import listed
from mkd.teachers.imported import LOGIT_COLUMNS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

PREDICTION_FIELDS = {
    "label": "string",
    "score": "double",
    "probabilities": "array<double>",
    "error": "string",
}
"""Fields of a prediction, with their Spark types."""
LOGIT_FIELDS = {"logits": "array<double>"}
"""The field that replaces them with label.logits."""
MISSING_STRINGS = ("None", "nan")
"""What MLflow's UDF returns for a missing string if other rows of the batch have one."""
NUMBER_BYTES = 4
"""Minimum bytes of a probability or logit in the output; compression hardly shrinks them."""
PROCESS_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""Environment of Spark's processes. Torch and the tokenizer use one thread each, and the
progress of loading a model is not printed.
"""


def check_labelling(config: LabelConfig, student: Path) -> list[str]:
    """Checks the settings of a labelling, and returns the names of the corpus's text columns.

    student: the folder of the model.
    Raises ValueError for an unknown task, a missing corpus or column, and an output that exists or
    cannot be created.
    """
    tasks = config_values(student, "label.model").get("tasks")
    if not isinstance(tasks, dict):
        raise ValueError(f"label.model is {config.model!r}; allowed: a student with tasks")
    if config.task not in tasks:
        raise ValueError(
            f"label.task is {config.task!r}; "
            f"allowed: {listed(list(tasks))}, the tasks of {config.model}"
        )
    texts = ["text", "text_pair"] if tasks[config.task]["pair"] else ["text"]
    rows = _check_columns(config, texts)
    if not config.output or Path(config.output).exists():
        raise ValueError(
            f"label.output is {config.output!r}; allowed: a path that does not exist yet"
        )
    check_output(Path(config.output), "label.output")
    numbers = rows * max(1, len(tasks[config.task]["labels"]))
    check_room(Path(config.output).absolute(), NUMBER_BYTES * numbers, "its answers take")
    check_spark()
    return texts


def check_spark() -> None:
    """Raises ValueError if pyspark or Java is missing."""
    if importlib.util.find_spec("pyspark") is None:
        raise ValueError(
            "pyspark is not installed; in a checkout, pip install -e '.[spark]' installs it"
        )
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        raise ValueError(
            "Spark needs Java, which was not found; allowed: version 17 or 21, by PATH or JAVA_HOME"
        )


def _check_columns(config: LabelConfig, texts: list[str]) -> int:
    """Returns the number of rows. Raises ValueError if the corpus or a column does not fit.

    The corpus has to be Parquet. Its columns must exist, have the right types, and not be
    overwritten.
    """
    path = config.corpus
    try:
        data = pa.dataset.dataset(path, format="parquet", partitioning="hive")
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = first_line(error)
        raise ValueError(
            f"label.corpus is {path!r}; allowed: a Parquet file or a folder of them ({reason})"
        ) from None
    if not data.files:
        raise ValueError(
            f"label.corpus is {path!r}; "
            "allowed: a Parquet file or a folder of them (there is no file)"
        )
    names, numbers = data.schema.names, ["row"] if config.logits else []
    for name in texts + [
        column for column in LOGIT_COLUMNS if config.logits and column not in LOGIT_FIELDS
    ]:
        if name not in names:
            raise ValueError(f"label.corpus {path}: no column {name!r}; there are: {listed(names)}")
        column_type = data.schema.field(name).type
        # Dictionary encoding, as of pandas' categories, is a matter of storage.
        column_type = column_type.value_type if pa.types.is_dictionary(column_type) else column_type
        right = (
            pa.types.is_integer(column_type)
            if name in numbers
            else pa.types.is_string(column_type) or pa.types.is_large_string(column_type)
        )
        if not right:
            allowed = "a whole number" if name in numbers else "string"
            raise ValueError(
                f"label.corpus {path}: column {name!r} is of type {column_type}; allowed: {allowed}"
            )
    taken = [] if config.logits else [name for name in names if name in PREDICTION_FIELDS]
    if taken:
        raise ValueError(
            f"label.corpus {path} has columns {listed(taken)}; "
            "allowed: other names, because the predictions use these"
        )
    try:
        return int(data.count_rows())
    except (pa.ArrowException, OSError) as error:
        reason = first_line(error)
        raise ValueError(f"label.corpus {path}: not readable as Parquet ({reason})") from None


@contextmanager
def spark_session(master: str, setting: str = "label.master") -> Iterator["SparkSession"]:
    """Opens a Spark session with little output. A local one listens on this machine only.

    setting: the name of the setting that holds `master`, for error messages.
    Raises ValueError, naming the setting, if Spark cannot start.
    """
    settings: dict[str, Any] = {
        "spark.local.dir": tempfile.gettempdir(),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": str(sys.stderr.isatty()).lower(),
        "spark.log.level": "FATAL",  # errors are reported once, as exceptions
        "spark.sql.caseSensitive": "true",  # column names were checked that way
    } | {f"spark.executorEnv.{name}": value for name, value in PROCESS_ENVIRONMENT.items()}
    if master.startswith("local"):
        settings |= dict.fromkeys(("spark.driver.bindAddress", "spark.driver.host"), "127.0.0.1")
        os.environ |= {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    with warnings.catch_warnings():
        # Only columns of strings, numbers and lists pass between Spark and the model, so the
        # warning does not apply.
        warnings.filterwarnings(
            "ignore", "PySpark does not yet fully support pandas", FutureWarning
        )
        from pyspark.sql import SparkSession

        with one_line_errors(f"{setting} is {master!r}"):
            spark = (
                SparkSession.builder.appName("mkd")
                .master(master)
                .config(map=settings)
                .getOrCreate()
            )
        try:
            yield spark
        finally:
            spark.stop()


@contextmanager
def one_line_errors(what: str) -> Iterator[None]:
    """Converts Spark's errors to a ValueError of one line.

    Spark's own messages contain whole traces of Python and Java.

    what: the start of the message.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError, ExecutionException) as error:
        raise ValueError(f"{what}: {_spark_reason(str(error))}") from error


def write_predictions(
    spark: "SparkSession",
    config: LabelConfig,
    model: Path,
    texts: list[str],
    aside: Path,
    folder: Path,
) -> dict[str, float]:
    """Writes label.output completely or not at all, and returns the metrics `label/...`.

    These are rows, rows with errors, seconds, and rows per second.

    model: MLflow's folder of the model.
    texts: the result of `check_labelling`.
    aside: a temporary folder next to the output, which is removed at the end.
    folder: the run's folder, which records the output (`put_in_place`).
    """
    begin = time.perf_counter()
    shutil.rmtree(aside, ignore_errors=True)  # left over from a process that was killed
    try:
        with one_line_errors(f"label.corpus {config.corpus}"):
            frame = spark.read.parquet(_uri(Path(config.corpus)))
            if config.logits:
                _check_complete(frame, texts)
            _with_predictions(spark, config, model, frame, texts).write.parquet(_uri(aside))
            seconds = time.perf_counter() - begin
            written = spark.read.parquet(_uri(aside))
            rows, errors = (
                written.count(),
                0 if config.logits else written.where("error is not null").count(),
            )
        counts = {names.LABEL_ROWS: rows, names.LABEL_ERRORS: errors}
        metrics = counts | {names.LABEL_SECONDS: seconds, names.LABEL_ROWS_PER_S: rows / seconds}
        # With logits, there is a single part, and the output is this file and not a folder.
        temporary_output = next(aside.glob("part-*")) if config.logits else aside
        put_in_place(temporary_output, Path(config.output), folder, metrics)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return metrics


def _with_predictions(
    spark: "SparkSession", config: LabelConfig, model: Path, frame: "DataFrame", texts: list[str]
) -> "DataFrame":
    """Returns the corpus with the predictions as new columns.

    With label.logits, it has the columns that teacher.sources reads, in one part.
    """
    from pyspark.sql import functions as F

    types = LOGIT_FIELDS if config.logits else PREDICTION_FIELDS
    result = ", ".join(f"{name} {kind}" for name, kind in types.items())
    params = {"task": config.task, "logits": config.logits}
    # It warns that `local` uses this environment, which is intended.
    logging.getLogger("mlflow.pyfunc").setLevel(logging.ERROR)
    answer = mlflow.pyfunc.spark_udf(
        spark, str(model), result_type=result, env_manager="local", params=params
    )
    # Spark reads a file with one row group as one part, whatever its size. Repartitioning gives
    # every core the same number of rows.
    partitions = max(frame.rdd.getNumPartitions(), spark.sparkContext.defaultParallelism)
    kept = [name for name in frame.columns if not config.logits or name in LOGIT_COLUMNS]
    spread = frame.select(*dict.fromkeys([*kept, *texts])).repartition(partitions)
    answered = spread.withColumn("answer", answer(F.struct(*texts)))
    if config.logits:
        return answered.select("split", "row", "answer.logits", *texts).repartition(1)
    error = F.when(~F.col("answer.error").isin(*MISSING_STRINGS), F.col("answer.error"))
    label = F.when(error.isNull(), F.col("answer.label"))
    return answered.select(
        *kept, label.alias("label"), "answer.score", "answer.probabilities", error.alias("error")
    )


def _check_complete(frame: "DataFrame", texts: list[str]) -> None:
    """Raises ValueError if a text or a row number is missing."""
    for name in ("split", "row", *texts):
        if missing := frame.where(frame[name].isNull()).count():
            raise ValueError(
                f"label.corpus: {missing:,} rows have no {name}; allowed for label.logits: none"
            )


def _uri(path: Path) -> str:
    """Returns a file URI. Spark might look up a plain path in another file system."""
    return f"file://{path.resolve()}"


def _spark_reason(message: str) -> str:
    """Returns the line of a Spark error that says what went wrong.

    This is the error that ends a Python trace, or else the last line with one of Spark's error
    classes, or else the first line, without the name of the call that Java failed in.
    """
    lines = [line for line in message.splitlines() if line and not line[0].isspace()]
    traces = [
        place
        for place, line in enumerate(lines[:-1])
        if "Traceback (most recent call last)" in line
    ]
    named = [line for line in lines if re.search(r"\[[A-Z_]+(\.[A-Z_]+)*\]", line)]
    if traces:
        return lines[traces[0] + 1]
    if named:
        return named[-1]
    first, *rest = lines
    return rest[0].removeprefix(": ") if first.startswith("An error occurred") and rest else first
