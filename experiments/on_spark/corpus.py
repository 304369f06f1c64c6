"""Texts in Parquet and a logged model's answers to them, by MLflow's Spark UDF of the model, in Parquet again.

What is wrong with the settings is told before Spark starts, and pyspark is imported then: it is the extra `spark`.
"""

import importlib.util
import json
import logging
import os
import re
import shutil
import sys
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
from mkd.tasks.files import listed
from mkd.teachers.imported import COLUMNS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ANSWERS = {"label": "string", "score": "double", "probabilities": "array<double>", "error": "string"}
LOGITS = {"logits": "array<double>"}
"""What the logged model answers, with the types of Spark."""
NOTHING = ("None", "nan")
"""What MLflow's UDF makes of a missing string, in a batch of rows that has others."""
OF_A_PROCESS = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
"""Environment of Spark's processes: one core each, for torch and for the tokenizer, and no word of each model that is loaded."""


def check(config: LabelConfig, student: Path) -> list[str]:
    """The corpus's text columns, one or two. student: the folder of the model that is to answer.

    Raises ValueError for an unknown task, a corpus or a column that is missing, and an output that is there.
    """
    tasks = json.loads((student / "config.json").read_text())["tasks"]
    if config.task not in tasks:
        raise ValueError(f"label.task is {config.task!r}; allowed: {listed(list(tasks))}, the tasks of {config.model}")
    texts = ["text", "text_pair"] if tasks[config.task]["pair"] else ["text"]
    _check_columns(config, texts)
    if not config.output or Path(config.output).exists():
        raise ValueError(f"label.output is {config.output!r}; allowed: a path where nothing is yet")
    check_spark()
    return texts


def check_spark() -> None:
    """Raises ValueError without what Spark needs."""
    if importlib.util.find_spec("pyspark") is None:
        raise ValueError("pyspark is not installed; allowed: with the extra that brings it, pip install 'mkd[spark]'")
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        raise ValueError("there is no Java, which Spark runs on; allowed: version 17 or 21, by PATH or JAVA_HOME")


def _check_columns(config: LabelConfig, texts: list[str]) -> None:
    path = config.corpus
    try:
        data = pa.dataset.dataset(path, format="parquet", partitioning="hive")
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"label.corpus is {path!r}; allowed: a Parquet file or a folder of them ({reason})") from None
    if not data.files:
        raise ValueError(f"label.corpus is {path!r}; allowed: a Parquet file or a folder of them (there is no file)")
    names, numbers = data.schema.names, ["row"] if config.logits else []
    for name in texts + [column for column in COLUMNS if config.logits and column not in LOGITS]:
        if name not in names:
            raise ValueError(f"label.corpus {path}: no column {name!r}; there are: {listed(names)}")
        found = data.schema.field(name).type
        found = found.value_type if pa.types.is_dictionary(found) else found
        right = pa.types.is_integer(found) if name in numbers else pa.types.is_string(found) or pa.types.is_large_string(found)
        if not right:
            allowed = "a whole number" if name in numbers else "string"
            raise ValueError(f"label.corpus {path}: column {name!r} is of type {found}; allowed: {allowed}")
    taken = [] if config.logits else [name for name in names if name in ANSWERS]
    if taken:
        raise ValueError(f"label.corpus {path} has columns {listed(taken)}; allowed: other names, as the answers have these")


@contextmanager
def session(master: str, setting: str = "label.master") -> Iterator["SparkSession"]:
    """Spark, quiet and, on this machine alone, deaf to all others. Raises ValueError, naming the setting, where it cannot."""
    settings: dict[str, Any] = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": str(sys.stderr.isatty()).lower(),
        "spark.log.level": "FATAL",  # an error comes back as an exception, and is told once
        "spark.sql.caseSensitive": "true",  # as the columns were checked
    } | {f"spark.executorEnv.{name}": value for name, value in OF_A_PROCESS.items()}
    if master.startswith("local"):
        settings |= dict.fromkeys(("spark.driver.bindAddress", "spark.driver.host"), "127.0.0.1")
        os.environ |= {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    with warnings.catch_warnings():
        # Of pandas that passes between Spark and the model nothing but columns of strings, numbers and lists is used.
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
        from pyspark.sql import SparkSession

        with told_in_a_line(f"{setting} is {master!r}"):
            spark = SparkSession.builder.appName("mkd").master(master).config(map=settings).getOrCreate()
        try:
            yield spark
        finally:
            spark.stop()


@contextmanager
def told_in_a_line(what: str) -> Iterator[None]:
    """Turns Spark's errors, which hold the traces of Python and of Java, into a ValueError with what went wrong."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError, ExecutionException) as error:
        raise ValueError(f"{what}: {_reason(str(error))}") from error


def write_answers(spark: "SparkSession", config: LabelConfig, model: Path, texts: list[str], aside: Path) -> dict[str, float]:
    """Writes label.output, as a whole or not at all, and tells `label/...`: rows, errors among them, seconds and rows a second.

    model: MLflow's folder of it. texts: as `check` gives them. aside: a folder beside the output, which is gone in the end.
    """
    begin = time.perf_counter()
    shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
    try:
        with told_in_a_line(f"label.corpus {config.corpus}"):
            frame = spark.read.parquet(_uri(Path(config.corpus)))
            if config.logits:
                _check_whole(frame, texts)
            _answered(spark, config, model, frame, texts).write.parquet(_uri(aside))
            seconds = time.perf_counter() - begin
            written = spark.read.parquet(_uri(aside))
            rows, errors = written.count(), 0 if config.logits else written.where("error is not null").count()
        os.rename(next(aside.glob("part-*")) if config.logits else aside, config.output)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    counts = {names.LABEL_ROWS: rows, names.LABEL_ERRORS: errors}
    return counts | {names.LABEL_SECONDS: seconds, names.LABEL_ROWS_PER_S: rows / seconds}


def _answered(spark: "SparkSession", config: LabelConfig, model: Path, frame: "DataFrame", texts: list[str]) -> "DataFrame":
    """The corpus with the answers beside each row; of logits what teacher.sources reads, in one part."""
    from pyspark.sql import functions as F

    types = LOGITS if config.logits else ANSWERS
    result = ", ".join(f"{name} {kind}" for name, kind in types.items())
    params = {"task": config.task, "logits": config.logits}
    logging.getLogger("mlflow.pyfunc").setLevel(logging.ERROR)  # it warns of what `local` means
    answer = mlflow.pyfunc.spark_udf(spark, str(model), result_type=result, env_manager="local", params=params)
    # A file of one row group is one part however large it is: spread, every core has as many rows as the others.
    parts = max(frame.rdd.getNumPartitions(), spark.sparkContext.defaultParallelism)
    kept = [name for name in frame.columns if not config.logits or name in COLUMNS]
    spread = frame.select(*dict.fromkeys([*kept, *texts])).repartition(parts)
    answered = spread.withColumn("answer", answer(F.struct(*texts)))
    if config.logits:
        return answered.select("split", "row", "answer.logits", *texts).repartition(1)
    error = F.when(~F.col("answer.error").isin(*NOTHING), F.col("answer.error"))
    label = F.when(error.isNull(), F.col("answer.label"))
    return answered.select(*kept, label.alias("label"), "answer.score", "answer.probabilities", error.alias("error"))


def _check_whole(frame: "DataFrame", texts: list[str]) -> None:
    for name in ("split", "row", *texts):
        if missing := frame.where(frame[name].isNull()).count():
            raise ValueError(f"label.corpus: {missing:,} rows have no {name}; allowed for label.logits: none")


def _uri(path: Path) -> str:
    """Not the name alone, which Spark might look up on another file system."""
    return f"file://{path.resolve()}"


def _reason(message: str) -> str:
    """The error that a trace of Python ends in, else the one that Spark has a name for, else the first line."""
    lines = [line for line in message.splitlines() if line and not line[0].isspace()]
    traces = [place for place, line in enumerate(lines[:-1]) if "Traceback (most recent call last)" in line]
    named = [line for line in lines if re.search(r"\[[A-Z_]+(\.[A-Z_]+)*\]", line)]
    return lines[traces[0] + 1] if traces else (named or lines)[-1 if named else 0]
