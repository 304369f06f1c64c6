"""Logged models in a real Spark session answer a Parquet corpus as the model does when called
directly."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from experiments import cli
from experiments.on_spark import corpus
from experiments.settings import DistillSettings, LabelConfig
from mkd.result import no_report
from mkd.storage.written import earlier_output
from mkd.tasks.sources import load_tasks
from mkd.tasks.task import Task
from mkd.teachers import primary_tokenizer
from mkd.teachers.imported import TEXT_COLUMNS, import_logits
from mkd.teachers.multitask import make_teacher
from mkd.tokenization.tokenise import tokenise_tasks
from tests.support.entry import TINY, client, command, outcome, tiny
from tests.support.needs import need
from tests.support.official import rows
from tests.support.spark import JAVA, WARM

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TAUGHT = ["sentiment", "similarity"]


class Distilled(NamedTuple):
    """A folder with a teacher's run, the run's id, and its model as loaded by MLflow."""

    folder: Path
    run_id: str
    model: Any

    @property
    def path(self) -> Path:
        """MLflow's folder of the model."""
        (artifacts,) = self.folder.glob("mlruns/*/models/*/artifacts")
        return artifacts

    def student(self) -> Path:
        about = mlflow.models.Model.load(self.path)
        return self.path / str(about.flavors["python_function"]["artifacts"]["student"]["path"])


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Distilled:
    folder = tmp_path_factory.mktemp("teacher")
    run_id = outcome(command(folder, "teacher", *tiny("teacher")))["run_id"]
    distilled = Distilled(folder, run_id, None)
    return distilled._replace(model=mlflow.pyfunc.load_model(str(distilled.path)))


@pytest.fixture(scope="module")
def spark() -> Iterator["SparkSession"]:
    need("java")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in WARM.items():
            patch.setenv(name, value)
        with corpus.spark_session("local[2]") as session:
            yield session


def texts(task: str, num: int) -> pd.DataFrame:
    """Made-up rows of a GLUE task in a corpus's form."""
    table = pd.DataFrame(rows(task, num))[["text_a", "text_b"]].dropna(axis=1)
    return table.set_axis(["text", "text_pair"][: len(table.columns)], axis=1).assign(
        id=range(1000, 1000 + num)
    )


def config_of(tmp_path: Path, frame: pd.DataFrame, task: str, **more: Any) -> LabelConfig:
    frame.to_parquet(tmp_path / "corpus.parquet")
    return LabelConfig(
        "runs:/x/student",
        task,
        str(tmp_path / "corpus.parquet"),
        str(tmp_path / "out.parquet"),
        **more,
    )


def written(
    spark: "SparkSession", config: LabelConfig, distilled: Distilled
) -> tuple[pd.DataFrame, dict[str, float]]:
    """The written rows for a config, and the metrics; checks that no other file is left."""
    names = corpus.check_labelling(config, distilled.student())
    output = Path(config.output)
    run = output.with_name("run")
    run.mkdir(exist_ok=True)
    metrics = corpus.write_predictions(
        spark, config, distilled.path, names, output.with_name("aside"), run
    )
    assert earlier_output(output, run) == metrics, "a run that is killed now knows its output"
    shutil.rmtree(run)
    assert {path.name for path in output.parent.iterdir()} == {"corpus.parquet", output.name}
    return pd.read_parquet(output), metrics


@pytest.mark.slow
def test_single_texts_are_answered_as_by_the_model(
    spark: "SparkSession", distilled: Distilled, tmp_path: Path
) -> None:
    frame = texts("sst2", 300)
    answers, metrics = written(spark, config_of(tmp_path, frame, "sentiment"), distilled)
    assert list(answers.columns) == ["text", "id", "label", "score", "probabilities", "error"]
    assert len(list((tmp_path / "out.parquet").glob("part-*"))) == 2, "both processes had rows"
    answers = answers.sort_values("id", ignore_index=True)
    direct = distilled.model.predict(frame[["text"]], params={"task": "sentiment"})
    assert answers["text"].tolist() == frame["text"].tolist()
    assert answers["label"].tolist() == direct["label"].tolist()
    np.testing.assert_allclose(answers["score"], direct["score"], atol=1e-5)
    np.testing.assert_allclose(
        np.stack(answers["probabilities"]), np.stack(direct["probabilities"]), atol=1e-5
    )
    assert answers["error"].isna().all()
    assert (metrics["label/rows"], metrics["label/errors"]) == (300, 0)
    assert metrics["label/rows_per_s"] == pytest.approx(300 / metrics["label/seconds"])


@pytest.mark.slow
def test_pairs_get_scores_or_errors(
    spark: "SparkSession", distilled: Distilled, tmp_path: Path
) -> None:
    frame = texts("stsb", 60)
    frame.loc[[3, 40], "text_pair"] = None
    frame.loc[7, "text"] = None
    answers, metrics = written(spark, config_of(tmp_path, frame, "similarity"), distilled)
    answers = answers.sort_values("id", ignore_index=True)
    direct = distilled.model.predict(frame[["text", "text_pair"]], params={"task": "similarity"})
    np.testing.assert_allclose(answers["score"], direct["score"].astype(float), atol=1e-4)
    assert (
        answers.index[answers["error"].notna()].tolist()
        == [3, 7, 40]
        == direct.index[direct["error"].notna()].tolist()
    )
    assert metrics["label/errors"] == 3
    assert (
        answers["error"][3] == direct["error"][3] == "the second text is missing; allowed: a string"
    )
    whole = answers[answers["error"].isna()]
    assert set(whole["label"]) == {""} and not any(len(row) for row in whole["probabilities"])
    assert answers[answers["error"].notna()][["label", "score"]].isna().all(axis=None)


@pytest.mark.slow
def test_corpus_folders_work(spark: "SparkSession", distilled: Distilled, tmp_path: Path) -> None:
    frame = texts("sst2", 20)
    (tmp_path / "corpus.parquet").mkdir()
    for part in range(2):
        frame[part::2].to_parquet(tmp_path / "corpus.parquet" / f"{part}.parquet")
    config = LabelConfig(
        "runs:/x/student",
        "acceptability",
        str(tmp_path / "corpus.parquet"),
        str(tmp_path / "out.parquet"),
    )
    answers, _ = written(spark, config, distilled)
    assert sorted(answers["id"]) == frame["id"].tolist()


def rows_of(task: Task) -> pd.DataFrame:
    """All rows of a task with their split and number, shuffled."""
    splits = {"train": task.train} | {f"dev{suffix}": split for suffix, split in task.dev.items()}
    rows = [
        {"split": name, "row": row, "text": a, "text_pair": b}
        for name, split in splits.items()
        for row, (a, b, *_) in enumerate(split.read())
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


@pytest.mark.slow
def test_written_logits_teach_as_the_teacher(
    spark: "SparkSession", distilled: Distilled, tmp_path: Path
) -> None:
    """The logits go through a file per task, for a classification and a regression; the file has
    the regression's scores in its own units."""
    config = replace(
        cli.parse(TINY, "", DistillSettings).core(), cache=str(distilled.folder / ".mkd")
    )
    tasks = load_tasks(config.data)
    tokenizer = primary_tokenizer(config.teacher, config.stores.root, tasks)
    side = tokenise_tasks(
        config.stores, tasks, tokenizer, torch.device("cpu"), "teacher", no_report
    )
    teacher = make_teacher(config, tasks, side, side, no_report)
    sources = {}
    for task, data, labeller in zip(tasks, side.datas, teacher.task_teachers, strict=True):
        if task.name in TAUGHT:
            folder = tmp_path / task.name
            folder.mkdir()
            frame = rows_of(task)
            answers, metrics = written(
                spark, config_of(folder, frame, task.name, logits=True), distilled
            )
            assert list(answers.columns) == [
                "split",
                "row",
                "logits",
                *TEXT_COLUMNS[: 1 + task.kind.pair],
            ] and metrics["label/rows"] == len(frame)
            assert (folder / "out.parquet").is_file()
            sources[task.name] = [str(folder / "out.parquet")]
            read = import_logits(tmp_path / "store", folder / "out.parquet", task, data)
            assert read.has_texts
            for split in ("train", "dev"):
                np.testing.assert_allclose(read.logits(split), labeller.logits(split), atol=1e-4)  # type: ignore[arg-type]
    assert list(sources) == TAUGHT
    argv = [
        *TINY, "--baseline=false", "--data.tasks", json.dumps(TAUGHT), "--teacher.sources",
        json.dumps(sources),
    ]  # fmt: skip
    metrics = outcome(command(tmp_path, "distill", *argv))["metrics"]
    for name in TAUGHT:
        expected = pytest.approx(teacher.metrics[f"quality/{name}/score"], abs=1e-3)
        assert metrics[f"teacher/quality/{name}/score"] == expected


@pytest.mark.parametrize(
    ("frame", "more", "message"),
    [
        ({"body": ["a"]}, {}, "no column 'text'; there are: 'body'"),
        ({"text": ["a"]}, {"task": "similarity"}, "no column 'text_pair'; there are: 'text'"),
        ({"text": [1]}, {}, "column 'text' is of type int64; allowed: string"),
        ({"text": ["a"]}, {"logits": True}, "no column 'split'; there are: 'text'"),
        ({"text": ["a"], "split": ["train"]}, {"logits": True},
         "no column 'row'; there are: 'text', 'split'"),
        ({"text": ["a"], "split": ["dev"], "row": [0.0]}, {"logits": True},
         "column 'row' is of type double; allowed: a whole"),
        ({"text": ["a"], "label": [1]}, {}, "has columns 'label'; allowed: other names"),
        ({"text": ["a"]}, {"task": "mnli"},
         "label.task is 'mnli'; allowed: 'acceptability', 'entailment', 'paraphrase'"),
        ({"text": ["a"]}, {"output": ""},
         "label.output is ''; allowed: a path that does not exist yet"),
        ({"text": ["a"]}, {"output": "/tmp"},
         "label.output is '/tmp'; allowed: a path that does not exist yet"),
        ({"text": ["a"]}, {"output": "/dev/null/out"},
         "label.output is '/dev/null/out'; allowed: a path below a folder that can be written to"),
        ({"text": ["a"]}, {"output": "o" * 181},
         "label.output ends in a name of 181 bytes; allowed: at most 180"),
        ({"text": ["a"]}, {"corpus": ""},
         "label.corpus is ''; allowed: a Parquet file or a folder"),
        ({"text": ["a"]}, {"corpus": "none"},
         "label.corpus is 'none'; allowed: a Parquet file or a folder"),
    ],
)  # fmt: skip
def test_a_wrong_corpus_or_setting_prints_one_line(
    frame: dict[str, list[Any]],
    more: dict[str, Any],
    message: str,
    distilled: Distilled,
    tmp_path: Path,
) -> None:
    config = replace(
        config_of(tmp_path, pd.DataFrame(frame), "sentiment"), **{key: more[key] for key in more}
    )
    with pytest.raises(ValueError) as caught:
        corpus.check_labelling(config, distilled.student())
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
def test_logits_need_texts(spark: "SparkSession", distilled: Distilled, tmp_path: Path) -> None:
    frame = pd.DataFrame({"split": "train", "row": range(3), "text": ["a", None, None]})
    config = config_of(tmp_path, frame, "sentiment", logits=True)
    message = "label.corpus: 2 rows have no text; allowed for label.logits: none"
    with pytest.raises(ValueError, match=message):
        corpus.write_predictions(
            spark, config, distilled.path, ["text"], tmp_path / "aside", tmp_path
        )
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.parquet"]


@pytest.mark.slow
def test_a_damaged_corpus_prints_one_line(
    spark: "SparkSession", distilled: Distilled, tmp_path: Path
) -> None:
    config = config_of(tmp_path, texts("sst2", 9), "sentiment")
    content = (tmp_path / "corpus.parquet").read_bytes()
    (tmp_path / "corpus.parquet").write_bytes(content[:4] + bytes(30) + content[34:])
    with pytest.raises(ValueError) as caught:
        corpus.write_predictions(
            spark,
            config,
            distilled.path,
            corpus.check_labelling(config, distilled.student()),
            tmp_path / "aside",
            tmp_path,
        )
    assert str(caught.value).startswith(f"label.corpus {tmp_path / 'corpus.parquet'}: ")
    assert "\n" not in str(caught.value)
    assert "FAILED_READ_FILE" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.parquet"]


@pytest.mark.slow
def test_an_error_of_the_model_prints_one_line(
    spark: "SparkSession", distilled: Distilled, tmp_path: Path
) -> None:
    config = config_of(tmp_path, pd.DataFrame({"text": ["a"]}), "other")
    with pytest.raises(ValueError) as caught:
        corpus.write_predictions(
            spark, config, distilled.path, ["text"], tmp_path / "aside", tmp_path
        )
    assert "MlflowException: task is 'other'; allowed: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_extra_is_named(
    distilled: Distilled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(ValueError, match=r"pip install -e '.\[spark\]'"):
        corpus.check_labelling(
            config_of(tmp_path, pd.DataFrame({"text": ["a"]}), "sentiment"), distilled.student()
        )


def test_a_missing_java_is_reported(
    distilled: Distilled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    message = "^Spark needs Java, which was not found; allowed: version 17 or 21, by PATH or JAVA_"
    with pytest.raises(ValueError, match=message):
        corpus.check_labelling(
            config_of(tmp_path, pd.DataFrame({"text": ["a"]}), "sentiment"), distilled.student()
        )


def label(distilled: Distilled, file: Path, output: Path) -> subprocess.CompletedProcess[str]:
    need("java")
    argv = [
        "--label.model",
        f"runs:/{distilled.run_id}/student",
        "--label.task=sentiment",
        "--label.master=local[1]",
    ]
    files = ["--label.corpus", str(file), "--label.output", str(output)]
    return command(distilled.folder, "label", *argv, *files, **JAVA)


@pytest.mark.slow
def test_the_entry_point_logs_a_run_with_its_speed(distilled: Distilled, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a good film"], "key": [5]}), tmp_path / "a.parquet")
    done = label(distilled, tmp_path / "a.parquet", tmp_path / "out")
    result = outcome(done)
    run = client(distilled.folder).get_run(result["run_id"])
    assert run.info.status == "FINISHED" and run.info.run_name == "label sentiment a.parquet"
    assert (run.data.tags["mkd.kind"], run.data.tags["mkd.tasks"]) == ("label", "sentiment")
    assert run.data.tags["mkd.parent"] == run.data.tags["mlflow.parentRunId"] == distilled.run_id
    assert run.data.tags["mkd.output"] == result["output"] == str(tmp_path / "out")
    assert run.data.metrics == result["metrics"] and result["metrics"]["label/rows"] == 1
    assert pd.read_parquet(result["output"])["key"].tolist() == [5]
    # stderr has Spark's lines and then the command's, as stdout has only the JSON.
    of_spark, _, of_command = done.stderr.partition("Setting Spark log level")
    assert 0 < len(of_spark.splitlines()) < 11 and len(of_command.splitlines()) < 20, done.stderr
    again = label(distilled, tmp_path / "a.parquet", tmp_path / "out")
    assert again.returncode == 2 and "Traceback" not in again.stderr
    last = again.stderr.strip().splitlines()[-1]
    expected = (
        f"error: label.output is '{tmp_path / 'out'}'; allowed: a path that does not exist yet"
    )
    assert last == expected


def test_logits_need_an_output_that_teacher_sources_can_read() -> None:
    message = r"label.output is 'logits'; allowed: a file that ends in .parquet"
    with pytest.raises(ValueError, match=message):
        LabelConfig(output="logits", logits=True)
