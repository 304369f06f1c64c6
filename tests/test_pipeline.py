import copy
import math
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny import MINILM
from transformers import DistilBertConfig, DistilBertModel, PreTrainedTokenizerBase

from mkd.checkpoints import load_tokenizer
from mkd.config import (
    Config,
    DataConfig,
    DemoConfig,
    LossConfig,
    SamplingConfig,
    SpeedConfig,
    StudentConfig,
    TeacherConfig,
    TrainConfig,
)
from mkd.evaluate import dev_logits, quality
from mkd.pipeline import prepare, run, run_teacher
from mkd.record import Result
from mkd.sources import load_tasks
from mkd.students import load_model
from mkd.tokens import layout_of, task_data

SST2 = Path(__file__).resolve().parents[2] / "shared" / "data" / "glue" / "SST-2"
TASKS = ["sentiment", "paraphrase", "similarity"]
BILSTM = StudentConfig(kind="bilstm", hidden=8, embedding=8)
TRANSFORMER = StudentConfig(kind="transformer", init="teacher", hidden=16, heads=2, layers=1)
QUALITY = {
    *(f"sentiment/{name}" for name in ("accuracy", "score", "ece")),
    *(f"paraphrase/{name}" for name in ("accuracy", "f1", "score", "ece")),
    *(f"similarity/{name}" for name in ("pearson", "spearman", "score")),
    "mean",
}


def config_of(cache: Path, **changes: Any) -> Config:
    """Three tasks of the demo suite, a teacher and a student of eight steps each."""
    train = TrainConfig(steps=8, batch_size=8, eval_every=4)
    config = Config(
        device="cpu",
        cache=str(cache),
        data=DataConfig(tasks=TASKS, max_length=64, demo=DemoConfig(train_rows=60, unlabelled_rows=20, dev_rows=30)),
        teacher=TeacherConfig(layers=2, hidden=16, heads=2, vocabulary=400, train=train),
        student=BILSTM,
        train=train,
        speed=SpeedConfig(length=16, batch_size=2, repeats=2, warmup=1),
    )
    return replace(config, **changes)


def of_quality(result: Result) -> dict[str, float]:
    """Everything that does not depend on how busy the machine is."""
    return {name: value for name, value in result.metrics.items() if "speed/" not in name}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def reports() -> list[dict[str, float]]:
    return []


@pytest.fixture(scope="module")
def result(shared: Path, reports: list[dict[str, float]]) -> Result:
    return run(config_of(shared / "cache"), shared / "student", lambda step, metrics: reports.append(metrics))


def test_a_run_gives_every_metric(result: Result) -> None:
    likewise = {*TASKS, "mean"}
    statistics = {f"b{rows}-l16-t1/{name}" for rows in (1, 2) for name in ("p50_ms", "p95_ms", "p99_ms", "rows_per_s")}
    expected = {
        *(f"{prefix}quality/{name}" for prefix in ("", "teacher/", "baseline/") for name in QUALITY),
        *(f"agreement/{name}" for name in likewise),
        *(f"{prefix}speed/torch/{name}" for prefix in ("", "teacher/") for name in statistics),
        *(f"speed/torch/b{rows}-l16-t1/ratio" for rows in (1, 2)),
        *(f"size/{name}" for name in ("parameters", "parameters_without_embeddings", "bytes", "flops")),
    }
    retained = {name for name in result.metrics if name.startswith("retention/")}
    assert {name for name in result.metrics if not name.startswith("retention/")} == expected
    assert retained == {f"retention/{t}" for t in TASKS if result.metrics[f"teacher/quality/{t}/score"] > 0} | {"retention/mean"}
    assert all(math.isfinite(value) for value in result.metrics.values())


def test_ratios_and_retention_follow_from_their_parts(result: Result) -> None:
    found = result.metrics
    setting = "speed/torch/b1-l16-t1"
    assert found[f"{setting}/ratio"] == found[f"teacher/{setting}/p50_ms"] / found[f"{setting}/p50_ms"]
    assert found["retention/mean"] == pytest.approx(100 * found["quality/mean"] / found["teacher/quality/mean"])


def test_a_run_tells_its_data_its_teacher_and_its_hardware(result: Result, shared: Path) -> None:
    assert [dataset.task for dataset in result.datasets] == TASKS
    for dataset in result.datasets:
        assert dataset[3:] == (74, 20, 6, 30), "60 labelled rows, of which a tenth is set apart, and 20 without a label"
        assert dataset.source == f"the generated suite, {dataset.task}, train"
    told = [note for note in result.notes if "WEAK TEACHER" not in note]  # eight steps do not always make a good one
    assert told == [f"{t}: 20 of 74 training rows have no label and serve distillation only" for t in TASKS]
    assert result.teacher == "bert-2x16"
    assert (shared / "cache" / "teachers" / result.teacher_key).is_dir()
    assert result.hardware["torch"] == torch.__version__


def test_a_run_reports_the_training_of_all_three_and_every_phase(result: Result, reports: list[dict[str, float]]) -> None:
    names = {name for metrics in reports for name in metrics}
    assert {f"{prefix}selection/mean" for prefix in ("", "teacher/", "baseline/")} <= names
    assert {f"{prefix}train/learning_rate" for prefix in ("", "teacher/", "baseline/")} <= names
    phases = {name: [metrics[name] for metrics in reports if name in metrics] for name in names if name.startswith("progress/")}
    assert phases.keys() == {
        f"progress/{phase}"
        for phase in (
            *("teacher tokens", "teacher", "student tokens", "student", "baseline/student", "speed"),
            *(f"logits of {task}" for task in TASKS),
        )
    }
    assert all(shares[-1] == 1 for shares in phases.values())


def test_the_saved_student_scores_what_was_reported(result: Result, shared: Path) -> None:
    config = config_of(shared / "cache")
    student, tokenizer = load_model(Path(result.folder)), load_tokenizer(Path(result.folder), "")
    datas = [task_data(shared / "cache", task, tokenizer, config.data, config.seed) for task in load_tasks(config.data)]
    found = quality(datas, dev_logits(student, datas, layout_of(tokenizer, student.joined, 64)))
    assert found == {name: value for name, value in result.metrics.items() if name.startswith("quality/")}


def test_a_run_with_fresh_caches_gives_the_same_numbers(result: Result, tmp_path: Path) -> None:
    again = run(config_of(tmp_path / "cache"), tmp_path / "student")
    assert of_quality(again) == of_quality(result)
    assert (again.datasets, again.teacher_key) == (result.datasets, result.teacher_key)


def test_a_run_with_full_caches_gives_the_same_numbers_and_trains_no_teacher(
    result: Result, shared: Path, tmp_path: Path
) -> None:
    told: set[str] = set()
    again = run(config_of(shared / "cache"), tmp_path, lambda step, metrics: told.update(metrics))
    assert of_quality(again) == of_quality(result)
    assert not any(name.startswith(("teacher/", "progress/logits")) for name in told)


def test_labels_alone_need_no_logits_of_the_teacher_and_no_baseline(result: Result, shared: Path, tmp_path: Path) -> None:
    told: set[str] = set()
    config = config_of(shared / "cache", loss=LossConfig(hard_weight=1.0))
    hard = run(config, tmp_path, lambda step, metrics: told.update(metrics))
    assert not any(name.startswith("baseline/") for name in hard.metrics)
    assert not any("logits" in name for name in told)
    twin = {name.removeprefix("baseline/"): v for name, v in result.metrics.items() if name.startswith("baseline/")}
    assert {name: hard.metrics[name] for name in twin} == twin, "it is the other run's baseline"


def test_a_transformer_can_start_from_the_teachers_layers(result: Result, shared: Path, tmp_path: Path) -> None:
    told: set[str] = set()
    config = config_of(shared / "cache", student=replace(TRANSFORMER, keep=[1]), baseline=False)
    found = run(config, tmp_path, lambda step, metrics: told.update(metrics))
    assert found.teacher == "bert-2x16", "the teacher keeps its layers"
    assert found.teacher_key == result.teacher_key
    assert "baseline/quality/mean" not in found.metrics
    assert load_model(tmp_path).config.encoder["num_hidden_layers"] == 1


def test_the_teacher_alone_can_be_made_and_measured(result: Result, shared: Path, tmp_path: Path) -> None:
    found = run_teacher(config_of(shared / "cache"), tmp_path)
    assert {name for name in found.metrics if name.startswith("quality/")} == {f"quality/{name}" for name in QUALITY}
    for name in QUALITY:
        assert found.metrics[f"quality/{name}"] == result.metrics[f"teacher/quality/{name}"]
    assert found.metrics["size/bytes"] > 0
    assert found.teacher_key == result.teacher_key


def test_weights_for_other_tasks_are_refused_before_the_teacher_is_trained(tmp_path: Path) -> None:
    config = config_of(tmp_path / "cache", train=TrainConfig(sampling=SamplingConfig(weights={"sentiment": 1.0})))
    told: set[str] = set()
    with pytest.raises(ValueError, match=r"sampling.weights names \['sentiment'\]; allowed: a weight for each of"):
        run(config, tmp_path / "student", lambda step, metrics: told.update(metrics))
    assert not any(name.startswith("teacher/") for name in told)


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        assert prepare(Config(device="cuda")).type == "cuda"
    else:
        with pytest.raises(ValueError, match="device is 'cuda'; allowed: auto or cpu"):
            prepare(Config(device="cuda"))


def test_a_tokenizer_that_the_layers_do_not_know_is_refused(result: Result, shared: Path, tmp_path: Path) -> None:
    config = config_of(shared / "cache", student=replace(TRANSFORMER, tokenizer=str(MINILM)))
    with pytest.raises(ValueError, match="student.tokenizer is '.*'; allowed: "):
        run(config, tmp_path)


def test_an_encoder_with_other_names_for_its_sizes_can_teach(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    sizes: dict[str, Any] = {"dim": 16, "n_heads": 2, "n_layers": 1, "hidden_dim": 32}
    DistilBertModel(DistilBertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path / "distilbert")
    tokenizer = copy.deepcopy(tokenizer)  # the fixture is shared with other tests
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(tmp_path / "distilbert")
    config = config_of(tmp_path / "cache", baseline=False)
    config = replace(config, teacher=replace(config.teacher, checkpoint=str(tmp_path / "distilbert")))
    assert run(config, tmp_path / "student").teacher == "distilbert-1x16"


@pytest.mark.skipif(not SST2.is_dir(), reason=f"no GLUE files beside this checkout, at {SST2}")
def test_a_student_of_minilm_learns_real_reviews(tmp_path: Path) -> None:
    """300 rows of SST-2, 100 of them without a label, and 200 dev rows; the student is one layer of the teacher."""
    with (SST2 / "train.tsv").open(encoding="utf-8") as file:
        lines = [line.rstrip("\n").split("\t") for line in islice(file, 1, 301)]
    rows = [f"{text}\t{label if i < 200 else ''}\n" for i, (text, label) in enumerate(lines)]
    (tmp_path / "train.tsv").write_text("sentence\tlabel\n" + "".join(rows))
    with (SST2 / "dev.tsv").open(encoding="utf-8") as file:
        (tmp_path / "dev.tsv").write_text("".join(islice(file, 201)))
    described = {"kind": "classification", "labels": ["0", "1"], "text": "sentence", "label": "label", "metrics": ["accuracy"]}
    (tmp_path / "tasks.yaml").write_text(yaml.safe_dump({"sst2": described | {"train": "train.tsv", "dev": "dev.tsv"}}))
    train = TrainConfig(steps=30, batch_size=16, learning_rate=2e-4, eval_every=15)
    config = Config(
        device="cpu",
        cache=str(tmp_path / "cache"),
        baseline=False,
        data=DataConfig(source="files", path=str(tmp_path / "tasks.yaml"), max_length=32),
        teacher=TeacherConfig(checkpoint=str(MINILM), train=train),
        student=StudentConfig(kind="transformer", init="teacher", hidden=384, heads=12, layers=1),
        train=train,
        speed=SpeedConfig(length=16, batch_size=2, repeats=2, warmup=1),
    )
    found = run(config, tmp_path / "student")
    assert found.datasets[0][3:] == (280, 100, 20, 200)
    labels = [line.rstrip("\n").split("\t")[1] for line in (tmp_path / "dev.tsv").read_text().splitlines()[1:]]
    constant = 100 * max(np.mean([label == name for label in labels]) for name in "01")
    assert found.metrics["teacher/quality/sst2/accuracy"] > constant
    assert found.metrics["quality/sst2/accuracy"] > constant
    assert found.metrics["agreement/sst2"] > constant
    assert found.metrics["speed/torch/b2-l16-t1/ratio"] > 1


@pytest.mark.parametrize(
    ("student", "told"),
    [
        (StudentConfig(kind="transformer", init="teacher", hidden=24, heads=2, layers=1), "student.hidden is 24; allowed: 16"),
        (StudentConfig(kind="transformer", init="teacher", hidden=16, heads=2, layers=3), "layers 0 to 1"),
        (StudentConfig(kind="bilstm", init="teacher", hidden=8, embedding=17), "student.embedding is 17; allowed: at most 16"),
        (StudentConfig(kind="bilstm", init="no-such-folder/at/all"), "student.init is 'no-such-folder/at/all'"),
    ],
)
def test_a_student_that_does_not_fit_is_refused_before_any_training(student: StudentConfig, told: str, tmp_path: Path) -> None:
    steps: list[str] = []
    with pytest.raises(ValueError, match=told):
        run(config_of(tmp_path / "cache", student=student), tmp_path / "s", lambda _, metrics: steps.extend(metrics))
    assert not [name for name in steps if "train/" in name] and not (tmp_path / "cache" / "teachers").exists()
