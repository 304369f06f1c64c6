import copy
import json
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from transformers import DistilBertConfig, DistilBertModel

from analysis.statistics.differences import resampled, split_answers
from experiments.tracking import table
from experiments.tracking.table import score_table
from mkd.config import (
    AugmentConfig,
    Config,
    DataConfig,
    ExportConfig,
    LossConfig,
    SamplingConfig,
    StudentConfig,
    TeacherConfig,
    TrainConfig,
    TransferConfig,
)
from mkd.export.backends import ExportRequest
from mkd.names import PHASES_WITHOUT_STEPS
from mkd.pipeline import run, run_teacher, set_up_device
from mkd.result import MODEL, Result
from mkd.runs.finetune import useless_training_note
from mkd.runtime.inference import Student
from mkd.storage.pretrained import load_tokenizer
from mkd.students import load_model
from mkd.students.embeddings import input_table
from tests.support import runs
from tests.support.needs import real_glue
from tests.support.official import lines_of, rows
from tests.support.runs import (
    BILSTM,
    HARD,
    QUALITY,
    SPEED,
    TASKS,
    RecordedReports,
    changed,
    finetuning,
    reproducible,
    same_weights,
    scored,
    some,
    starting,
    tuned,
    without,
)
from tests.support.tiny import MINILM, Tokenizer

TAB = "\t"
pytestmark = pytest.mark.usefixtures("quiet")
TRANSFORMER = StudentConfig(kind="transformer", init="teacher", hidden=16, heads=2, layers=1)
PLAIN = replace(BILSTM, attention=False, words=False)


def demo_config(cache: Path, settings: Mapping[str, Any] | None = None, **sections: Any) -> Config:
    """As in runs.py, with a student whose export takes a third of the time."""
    return runs.demo_config(cache, settings, **{"student": PLAIN} | sections)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def reports() -> RecordedReports:
    return RecordedReports()


@pytest.fixture(scope="module")
def result(shared: Path, reports: RecordedReports) -> Result:
    """A run of eight steps, after which int8 may lose many points."""
    config = demo_config(shared / "cache", export=ExportConfig(max_loss=100))
    return run(config, shared / "student", reports)


def test_a_run_gives_every_metric(result: Result) -> None:
    def all_of(*choices: str) -> set[str]:
        """All names that combine one word of each of `choices`; | separates words."""
        names = [""]
        for part in choices:
            names = [name + word for name in names for word in part.split("|")]
        return set(names)

    likewise, tasks = "|".join((*TASKS, "mean")), "|".join(TASKS)
    classes = "|".join(task for task in TASKS if task != "similarity")
    settings, backends = "b1-text-t1/|b1-l16-t1/|b2-text-t1/", "onnx/|int8/"
    models = f"speed/torch/|speed/{backends.replace('|', '|speed/')}|teacher/speed/torch/"
    expected = (
        all_of("|teacher/|baseline/", "|".join(QUALITY))
        | all_of("agreement/|selected/|majority/selection/", likewise)
        | all_of("majority/quality/", tasks, "/score") | {"majority/quality/mean"}
        | all_of(models, settings, "calls|rows_per_s")
        | all_of(models, "b1-text-t1/|b1-l16-t1/", "p50_ms")
        | all_of("speed/", f"torch/|{backends}", settings, "ratio")
        | all_of("|teacher/", "speed/busy_share|speed/protocol")
        | all_of("export/", backends, "max_difference|loss|bytes|offered|quality/mean")
        | all_of("export/", backends, "loss_batches|loss_single_rows")
        | all_of("export/", backends, "quality/", tasks, "/score")
        | all_of("size/", "parameters|parameters_without_embeddings|bytes|flops")
        | all_of("data/", tasks, "/groups|/largest_group|/grouped_share|/selected_groups")
        | all_of("data/", tasks, "/left_out|/apart|/cut|/unknown")
        | all_of("calibration/", classes, "/temperature|/ece_before")
        | all_of("deferral/", f"{classes}|mean", "/lossless|/one_point", "/answered|/lost")
    )  # fmt: skip
    depend_on_time = ("p95_ms", "p99_ms", "b2-text-t1/p50_ms")
    retained = starting(result.metrics, "retention/").keys()
    measured = {name for name in result.metrics if not name.endswith(depend_on_time)}
    thresholds = {name for name in starting(result.metrics, "deferral/") if "min_conf" in name}
    assert measured - retained - thresholds == expected
    useful = {t for t in TASKS if result.metrics[f"teacher/quality/{t}/score"] > 0}
    assert retained == {f"retention/{name}" for name in useful | {"mean"}}
    assert all(math.isfinite(value) for value in result.metrics.values())


def test_speed_is_not_measured_with_zero_seconds(shared: Path) -> None:
    config = demo_config(shared / "cache", {"baseline": False, "speed.seconds": 0})
    untimed = run(config, shared / "unmeasured")
    assert not [name for name in untimed.metrics if "speed/" in name] and untimed.exported == ""
    assert not [line for line in table.result_table(untimed) if line.startswith(("| ms", "| rows"))]


def test_ratios_and_retention_follow_from_their_parts(result: Result) -> None:
    metrics = result.metrics
    setting = "speed/torch/b1-text-t1"
    ratio = metrics[f"teacher/{setting}/p50_ms"] / metrics[f"{setting}/p50_ms"]
    assert metrics[f"{setting}/ratio"] == ratio
    retention = 100 * metrics["quality/mean"] / metrics["teacher/quality/mean"]
    assert metrics["retention/mean"] == pytest.approx(retention)


def test_the_best_weights_are_kept(result: Result, reports: RecordedReports) -> None:
    curve = [metrics for metrics in reports if "selection/mean" in metrics]
    best = max(curve, key=lambda metrics: metrics["selection/mean"])
    assert len(curve) == 2
    assert without("selection/", best) == pytest.approx(without("selected/", result.metrics))


def test_a_run_reports_its_data_teacher_and_hardware(result: Result, shared: Path) -> None:
    """60 labelled rows, a tenth of which is held out for selection, and 20 unlabelled ones."""
    assert [dataset.task for dataset in result.datasets] == TASKS
    for dataset in result.datasets:
        assert dataset[3:] == (74, 20, 6, 30)
        assert dataset.source == f"the generated suite, {dataset.task}, train"
    # After eight steps, teacher and student may be weak.
    notes = [note for note in result.notes if "WEAK" not in note and "deferral" not in note]
    unlabelled = "20 of 74 training rows have no label and serve distillation only"
    assert notes[:3] == [f"{task}: {unlabelled}" for task in TASKS]
    groups = [note.split(" groups of rows that overlap, the largest of ")[0] for note in notes[3:]]
    assert groups == [f"{t}: {result.metrics[f'data/{t}/groups']:.0f}" for t in TASKS]
    assert result.teacher == "bert-2x16"
    assert (shared / "cache" / "teachers" / result.teacher_key).is_dir()
    assert result.hardware["torch"] == torch.__version__


def test_a_weak_student_and_truncated_rows_are_reported(result: Result) -> None:
    """Recomputed from its answers, with the standard error of a share of 30 rows."""
    labels = result.predictions["label"][result.predictions["task"] == "sentiment"]
    share = 100 * max(labels.mean(), 1 - labels.mean())
    margin = 2 * (share * (100 - share) / len(labels)) ** 0.5
    weak = result.metrics["quality/sentiment/accuracy"] < share + margin
    notes = [
        note for note in result.notes if note.startswith("sentiment: WEAK STUDENT: it scores ")
    ]
    assert len(labels) == 30 and len(notes) == weak
    for task in TASKS:
        assert result.metrics[f"data/{task}/cut"] == result.metrics[f"data/{task}/unknown"] == 0


@pytest.mark.usefixtures("result")
def test_all_trainings_are_reported(reports: RecordedReports) -> None:
    for prefix in ("", "teacher/", "baseline/"):
        assert {f"{prefix}selection/mean", f"{prefix}train/learning_rate"} <= set(reports.names)
    without_steps = tuple(f"progress/{start}" for start in PHASES_WITHOUT_STEPS)
    progress = {name for name in reports.names if name.startswith("progress/")}
    phases = {name for name in progress if not name.startswith(without_steps)}
    assert phases < progress
    assert phases == {
        *(
            f"progress/{model}{kind}"
            for model in ("teacher", "student")
            for kind in ("", " tokens")
        ),
        *(f"progress/logits of {task}{split}" for task in TASKS for split in ("", ", dev")),
        *(f"progress/{name}" for name in ("baseline/student", "export", "speed", "teacher speed")),
    }
    assert all(reports.of(phase)[-1] == 1 for phase in phases)


def test_the_saved_student_has_the_reported_scores(result: Result, shared: Path) -> None:
    scores = scored(demo_config(shared / "cache"), Path(result.folder))
    assert scores == starting(result.metrics, "quality/")


def test_a_run_with_empty_caches_gives_the_same_numbers(result: Result, tmp_path: Path) -> None:
    again = run(demo_config(tmp_path / "cache"), tmp_path / "student")
    assert reproducible(again) == reproducible(result)
    assert (again.datasets, again.teacher_key) == (result.datasets, result.teacher_key)


def test_full_caches_give_the_same_numbers(result: Result, shared: Path, tmp_path: Path) -> None:
    recorded = RecordedReports()
    again = run(demo_config(shared / "cache"), tmp_path, recorded)
    assert reproducible(again) == reproducible(result)
    assert not any(name.startswith(("teacher/", "progress/logits")) for name in recorded.names)


def test_labels_alone_need_no_teacher_and_no_baseline(result: Result, tmp_path: Path) -> None:
    """Such a run equals the baseline of the other run, as the vocabularies are the same."""
    recorded, cache = RecordedReports(), tmp_path / "cache"
    hard = run(demo_config(cache, loss=HARD), tmp_path / "student", recorded)
    words = ("teacher", "logits", "baseline")
    assert not any(word in name for name in recorded.names for word in words)
    assert not (cache / "teachers").exists() and not (cache / "logits").exists()
    assert (hard.teacher, hard.teacher_key) == ("", "")
    compared = ("baseline/", "teacher/", "retention/", "agreement/")
    assert not any(name.startswith(compared) or name.endswith("/ratio") for name in hard.metrics)
    assert np.isnan(hard.predictions["teacher"]).all() and len(hard.predictions["teacher"]) == 90
    twin = without("baseline/", result.metrics)
    assert some(hard.metrics, twin) == twin


def test_labels_alone_need_only_a_tokenizer(tmp_path: Path) -> None:
    load_tokenizer(MINILM, "").save_pretrained(tmp_path / "words")
    teacher = TeacherConfig(checkpoint=str(tmp_path / "words"))
    alone = replace(HARD, hard_weight_end=1.0)
    config = demo_config(tmp_path / "cache", teacher=teacher, loss=alone)
    assert run(config, tmp_path / "student").teacher == ""
    with pytest.raises(ValueError, match="no readable config.json"):
        run(changed(config, {"loss.hard_weight_end": 0.9}), tmp_path)


def test_labels_alone_need_a_teacher_if_the_student_starts_from_its_weights(
    result: Result, shared: Path, tmp_path: Path
) -> None:
    recorded = RecordedReports()
    config = demo_config(shared / "cache", loss=HARD, student=TRANSFORMER)
    hard = run(config, tmp_path / "hard", recorded)
    assert hard.teacher_key == result.teacher_key and "agreement/mean" in hard.metrics
    assert not any("logits" in name for name in recorded.names)
    distilled = run(replace(config, loss=LossConfig()), tmp_path / "taught")
    assert some(hard.metrics, QUALITY) == some(distilled.metrics, QUALITY, "baseline/")


def test_a_student_starts_from_teacher_layers(result: Result, shared: Path, tmp_path: Path) -> None:
    student = replace(TRANSFORMER, keep=[1])
    from_layers = run(demo_config(shared / "cache", student=student, baseline=False), tmp_path)
    assert from_layers.teacher == "bert-2x16", "the teacher keeps its layers"
    assert from_layers.teacher_key == result.teacher_key
    assert "baseline/quality/mean" not in from_layers.metrics
    assert load_model(tmp_path / MODEL).config.encoder["num_hidden_layers"] == 1


def test_added_rows_need_no_other_teacher(result: Result, shared: Path, tmp_path: Path) -> None:
    """Rows are added by augmentation and by a file for the tasks of single texts. Stored logits are
    counted by their manifests."""

    def stores(kind: str) -> set[Path]:
        return {path.parent for path in (shared / "cache" / kind).glob("*/manifest.json")}

    (tmp_path / "more.csv").write_text("body\nthe film was fine\nnobody came\n")
    transfer = [TransferConfig(str(tmp_path / "more.csv"), ["body"])]
    more = {"data.transfer": transfer, "data.augment": AugmentConfig(multiple=2), "baseline": False}
    config = demo_config(shared / "cache", more)
    recorded, before = RecordedReports(), stores("logits")
    augmented = run(config, tmp_path / "student", recorded)
    assert augmented.teacher_key == result.teacher_key
    assert not any(name.startswith("teacher/") for name in recorded.names)
    assert recorded.names.count("progress/augmentation") == 3
    # New stores: the file's rows, and per task the copies and all rows.
    assert len(stores("logits") - before) == 1 + 3 + 3
    for dataset, alone in zip(augmented.datasets, result.datasets, strict=True):
        assert dataset.source.endswith(f"{dataset.task}, augmented")
        assert ("more.csv" in dataset.source) == (dataset.task == "sentiment")
        added = dataset.train_rows - alone.train_rows
        assert 0 < added <= 2 * 54 + 2
        assert dataset.unlabelled_rows - alone.unlabelled_rows == added
        assert dataset.selection_rows == alone.selection_rows
        assert dataset.fingerprint != alone.fingerprint
    assert reproducible(run(config, tmp_path / "again")) == reproducible(augmented)


@pytest.mark.parametrize(
    "student",
    [replace(BILSTM, init="teacher", min_count=3), replace(TRANSFORMER, min_count=3),
     StudentConfig(kind="transformer", hidden=16, heads=2, embedding=8, min_count=3),
     StudentConfig(kind="bag", init="teacher", hidden=8, embedding=16, ngrams=3, buckets=100,
                   min_count=3),
     StudentConfig(kind="bag", hidden=8, layers=2, buckets=100)],
    ids=lambda student: f"{student.name}-{student.init}",
)  # fmt: skip
def test_every_kind_runs_with_a_trimmed_vocabulary(
    student: StudentConfig, result: Result, shared: Path, tmp_path: Path
) -> None:
    config = demo_config(shared / "cache", student=student, baseline=False)
    trained = run(config, tmp_path)
    assert (trained.student, trained.teacher_key) == (student.name, result.teacher_key)
    assert scored(config, tmp_path / MODEL) == starting(trained.metrics, "quality/")
    kept = input_table(load_model(tmp_path / MODEL)).num_embeddings
    words = len(load_tokenizer(tmp_path / MODEL, ""))
    assert kept < words if student.min_count else kept == words


def test_a_teacher_can_be_trained_alone(result: Result, shared: Path, tmp_path: Path) -> None:
    teacher = run_teacher(demo_config(shared / "cache"), tmp_path)
    assert starting(teacher.metrics, "quality/") == some(result.metrics, QUALITY, "teacher/")
    assert teacher.metrics["size/bytes"] > 0
    assert teacher.teacher_key == result.teacher_key


def test_weights_for_other_tasks_are_refused_before_the_teacher_is_trained(tmp_path: Path) -> None:
    weights = {"train.sampling": SamplingConfig(weights={"sentiment": 1.0})}
    recorded = RecordedReports()
    with pytest.raises(ValueError, match=r"sampling.weights names \['sentiment'\]; allowed: "):
        run(demo_config(tmp_path / "cache", weights), tmp_path / "student", recorded)
    assert not any(name.startswith("teacher/") for name in recorded.names)


def test_a_missing_gpu_is_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        assert set_up_device(Config(device="cuda")).type == "cuda"
    else:
        with pytest.raises(ValueError, match="device is 'cuda'; allowed: auto or cpu"):
            set_up_device(Config(device="cuda"))


def test_an_unfit_tokenizer_is_refused(result: Result, shared: Path, tmp_path: Path) -> None:
    config = demo_config(shared / "cache", student=replace(TRANSFORMER, tokenizer=str(MINILM)))
    with pytest.raises(ValueError, match="student.tokenizer is '.*'; allowed: "):
        run(config, tmp_path)


def test_an_encoder_with_other_size_names_can_teach(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = tmp_path / "distilbert"
    sizes: dict[str, Any] = {"dim": 16, "n_heads": 2, "n_layers": 1, "hidden_dim": 32}
    DistilBertModel(DistilBertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    tokenizer = copy.deepcopy(tokenizer)  # the fixture is shared with other tests
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(folder)
    settings = {"baseline": False, "teacher.checkpoint": str(folder)}
    config = demo_config(tmp_path / "cache", settings)
    assert run(config, tmp_path / "student").teacher == "distilbert-1x16"


def made_reviews(split: str, num: int) -> list[str]:
    """Lines of made-up reviews in the format of SST-2, with a header."""
    review_rows = rows("sst2", num, len(split))
    return ["sentence\tlabel", *(f"{row.text_a}\t{int(row.label or 0)}" for row in review_rows)]


def real_reviews(split: str, num: int) -> list[str]:
    folder = real_glue()
    assert folder, "the test that wants it is marked"
    return lines_of(folder / "SST-2" / f"{split}.tsv", 1 + num)


@pytest.mark.slow
@pytest.mark.parametrize(
    "reviews", [made_reviews, pytest.param(real_reviews, marks=pytest.mark.real_data)]
)
def test_a_student_of_minilm_learns_reviews(
    reviews: Callable[[str, int], list[str]], tmp_path: Path
) -> None:
    """180 rows, 60 of them unlabelled, and 100 dev rows. The student has one layer of the
    teacher."""
    header, *lines = reviews("train", 180)
    lines = [f"{line.split(TAB)[0]}{TAB}" if i >= 120 else line for i, line in enumerate(lines)]
    (tmp_path / "train.tsv").write_text("".join(f"{line}\n" for line in (header, *lines)))
    (tmp_path / "dev.tsv").write_text("".join(f"{line}\n" for line in reviews("dev", 100)))
    described = {
        "kind": "classification", "labels": ["0", "1"], "text": "sentence", "label": "label",
        "metrics": ["accuracy"], "train": "train.tsv", "dev": "dev.tsv",
    }  # fmt: skip
    (tmp_path / "tasks.yaml").write_text(yaml.safe_dump({"sst2": described}))
    train = TrainConfig(steps=30, batch_size=16, learning_rate=2e-4, eval_every=15)
    config = Config(
        device="cpu",
        cache=str(tmp_path / "cache"),
        baseline=False,
        data=DataConfig(source="files", path=str(tmp_path / "tasks.yaml"), max_length=32),
        teacher=TeacherConfig(checkpoint=str(MINILM), train=replace(train, steps=16, eval_every=8)),
        student=StudentConfig(kind="transformer", init="teacher", hidden=384, heads=12, layers=1),
        train=train,
        speed=SPEED,
        export=ExportConfig(backends=[]),
    )
    trained = run(config, tmp_path / "student")
    # Unlabelled rows that overlap with the selection split are left out.
    left_out = trained.metrics["data/sst2/left_out"]
    assert trained.datasets[0][3:] == (168 - left_out, 60 - left_out, 12, 100) and left_out < 12
    labels = [line.split("\t")[1] for line in (tmp_path / "dev.tsv").read_text().splitlines()[1:]]
    constant = 100 * max(labels.count(name) / len(labels) for name in "01")
    for name in ("teacher/quality/sst2/accuracy", "quality/sst2/accuracy", "agreement/sst2"):
        assert trained.metrics[name] > constant
    assert trained.metrics["speed/torch/b2-text-t1/ratio"] > 0


@pytest.mark.parametrize(
    ("student", "message"),
    [
        (replace(TRANSFORMER, hidden=24), "student.hidden is 24; allowed: 16"),
        (replace(TRANSFORMER, layers=3), "layers 0 to 1"),
        (StudentConfig(kind="bilstm", init="teacher", hidden=8, embedding=17),
         "student.embedding is 17; allowed: at most 16"),
        (StudentConfig(kind="bag", min_count=10**6),
         "student.min_count is 1000000; allowed: at most"),
        (StudentConfig(kind="bilstm", init="no-such-folder/at/all"),
         "student.init is 'no-such-folder/at/all'"),
    ],
)  # fmt: skip
def test_invalid_students_are_refused(student: StudentConfig, message: str, tmp_path: Path) -> None:
    reports = RecordedReports()
    with pytest.raises(ValueError, match=message):
        run(demo_config(tmp_path / "cache", student=student), tmp_path / "s", reports)
    assert not [name for name in reports.names if "train/" in name]
    assert not (tmp_path / "cache" / "teachers").exists()


def test_finetuning_scores_before_and_after(result: Result, shared: Path, tmp_path: Path) -> None:
    """One task is known and one is new. The tasks that are not fine-tuned are dropped."""
    recorded, tasks = RecordedReports(), ["paraphrase", "entailment"]
    finetuned = tuned(finetuning(shared / "cache", result.folder, tasks, HARD), tmp_path, recorded)
    known = starting(result.metrics, "quality/paraphrase/")
    assert without("before/", finetuned.metrics) == known
    scores = {"quality/paraphrase/score", "quality/entailment/score", "quality/mean", "size/bytes"}
    assert scores <= finetuned.metrics.keys()
    assert not any(name.startswith("teacher/") for name in [*recorded.names, *finetuned.metrics])
    assert finetuned.teacher == ""
    expected = {"train/hard/entailment", "selection/mean", "sampling/paraphrase"}
    assert expected <= set(recorded.names)
    assert list(load_model(tmp_path / MODEL).config.tasks) == ["entailment", "paraphrase"]


def test_finetuning_has_a_twin_from_scratch(result: Result, shared: Path, tmp_path: Path) -> None:
    """With labels alone, on the tasks of the distillation, a student trained from scratch equals
    the distillation's baseline."""
    config = finetuning(shared / "cache", result.folder, TASKS, HARD)
    recorded = RecordedReports()
    finetuned = tuned(config, tmp_path / "tuned", recorded)
    assert some(finetuned.metrics, QUALITY, "anew/") == some(result.metrics, QUALITY, "baseline/")
    assert (
        recorded.of("anew/train/hard/sentiment") and recorded.of("progress/anew/student")[-1] == 1
    )
    table = score_table(finetuned)
    columns = [cell.strip() for cell in table[0].split("|")]
    assert columns[2:-1] == ["before", "student", "from scratch"]
    assert f"{finetuned.metrics['anew/quality/mean']:.1f}" in table[-1]
    alone = tuned(replace(config, baseline=False), tmp_path / "alone")
    assert not starting(alone.metrics, "anew/")
    assert some(alone.metrics, QUALITY) == some(finetuned.metrics, QUALITY)


def test_a_finetuning_worse_than_training_from_scratch_has_a_note() -> None:
    (note,) = useless_training_note({"quality/mean": 61.2, "anew/quality/mean": 70.3})
    assert "DOES NOT HELP" in note and "its mean score is 70.3, 9.1 points higher" in note
    assert useless_training_note({"quality/mean": 70.3, "anew/quality/mean": 70.3}) == []
    assert useless_training_note({"quality/mean": 61.2}) == []


class Ended(Exception):
    """Ends a run when its student would be measured."""


def test_timing_takes_at_most_half_as_long_as_the_training(
    result: Result, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ExportRequest] = []

    def ended(trained: object, supervision: object, request: ExportRequest, *more: object) -> None:
        asked.append(request)
        raise Ended

    config = demo_config(shared / "cache", {"speed.seconds": 1e5}, baseline=False)
    further = replace(
        finetuning(shared / "cache", result.folder, TASKS, HARD),
        speed=config.speed,
        baseline=False,
    )
    starts: list[tuple[str, Callable[[], Result]]] = [
        ("mkd.pipeline", partial(run, config, tmp_path / "run")),
        ("mkd.runs.finetune", partial(tuned, further, tmp_path / "tuned")),
    ]
    for module, start in starts:
        monkeypatch.setattr(f"{module}.exported_result", ended)
        begin = time.perf_counter()
        with pytest.raises(Ended):
            start()
        assert 0 < asked[-1].speed.seconds < (time.perf_counter() - begin) / 2, module
    assert len(asked) == 2


def test_the_note_of_a_useless_finetuning_comes_first(
    result: Result, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = {"quality/mean": 61.2, "anew/quality/mean": 70.3}
    useless = result._replace(metrics=scores, notes=["another"])
    monkeypatch.setattr("mkd.runs.finetune.exported_result", lambda *args: useless)
    config = replace(finetuning(shared / "cache", result.folder, TASKS, HARD), baseline=False)
    first, second = tuned(config, tmp_path).notes
    assert "DOES NOT HELP" in first and second == "another"


def test_finetuning_can_use_logits_too(result: Result, shared: Path, tmp_path: Path) -> None:
    recorded, loss = RecordedReports(), LossConfig(kind="mse", hard_weight=0.5)
    finetuned = tuned(finetuning(shared / "cache", result.folder, TASKS, loss), tmp_path, recorded)
    assert finetuned.teacher_key == result.teacher_key, "the teacher that was there"
    assert finetuned.metrics["before/quality/mean"] == result.metrics["quality/mean"]
    expected = {"agreement/mean", "teacher/quality/mean", "speed/torch/b1-text-t1/ratio"}
    assert expected <= finetuned.metrics.keys()
    assert "train/soft/sentiment" in recorded.names


def test_invalid_finetunings_are_refused(result: Result, shared: Path, tmp_path: Path) -> None:
    weighed = replace(HARD, task_weights={"sentiment": 1.0})
    for student, loss, data, message in [
        ("", HARD, {}, "finetune.student is ''; allowed: a folder that holds a distilled"),
        (
            str(tmp_path),
            HARD,
            {},
            f"finetune.student is '{tmp_path}'; allowed: a folder that holds",
        ),
        (result.folder, HARD, {"max_length": 65}, "data.max_length is 65; allowed: at most 64"),
        (result.folder, weighed, {}, r"loss.task_weights names \['sentiment'\]; allowed: a weight"),
    ]:
        with pytest.raises(ValueError, match=message):
            tuned(finetuning(shared / "cache", student, TASKS, loss, **data), tmp_path / "s")


def test_loss_settings_can_be_combined(shared: Path, tmp_path: Path) -> None:
    loss = LossConfig(hard_weight_end=1.0, balance="uncertainty")
    sampling = {"train.sampling": SamplingConfig(alpha=1.0, alpha_end=0.0)}
    recorded = RecordedReports()
    run(demo_config(shared / "cache", sampling, loss=loss), tmp_path, recorded)
    for prefix in ("", "baseline/"):
        assert recorded.of(f"{prefix}train/log_variance/similarity")
        shares = [recorded.of(f"{prefix}sampling/{task}")[-1] for task in TASKS]
        assert sum(shares) == pytest.approx(1)
        assert all((24 * share).is_integer() for share in shares)


def test_finetuning_is_the_same_with_a_stored_teacher(shared: Path, tmp_path: Path) -> None:
    """The student has dropout, so its training uses random numbers too."""
    settings = {"student.dropout": 0.2, "baseline": False}
    start = run(demo_config(shared / "cache", settings), tmp_path / "start")
    loss = LossConfig(hard_weight=0.5)
    config = finetuning(tmp_path / "cache", start.folder, ["paraphrase"], loss)
    first, again = (tuned(config, tmp_path / name) for name in ("made", "found"))
    assert reproducible(first) == reproducible(again)
    assert same_weights(tmp_path / "made" / MODEL, tmp_path / "found" / MODEL)


SEVERAL_WORDS = ("sun", "rain", "snow")


def write_labelled(folder: Path) -> Path:
    """Two tasks of words in a text.

    weather: the labels are the words; a tenth of the rows has none, and of a tenth of train they
    are unknown. rain: one word makes a rare class likely.
    """
    several, rare = Random(0), Random(3)
    for name, num in (("train", 120), ("dev", 40)):
        rows = []
        for place in range(num):
            drawn_words = [word for word in SEVERAL_WORDS if several.random() < 0.4 and place % 10]
            text = several.sample([*drawn_words, "the", "day", "is"], len(drawn_words) + 3)
            cell = "" if name == "train" and place % 10 == 1 else json.dumps(drawn_words)
            rows.append(f"{' '.join(text)}{TAB}{cell}")
        (folder / f"weather_{name}.tsv").write_text("\n".join([f"text{TAB}labels", *rows]) + "\n")
    for name, num in (("train", 200), ("dev", 60)):
        rows = [f"text{TAB}label"]
        for place in range(num):
            words = rare.sample(SEVERAL_WORDS, 2)
            found_rare = place % 5 == 0 and (SEVERAL_WORDS[0] in words or rare.random() < 0.5)
            rows.append(f"the day is {' '.join(words)}{TAB}{'yes' if found_rare else 'no'}")
        (folder / f"rain_{name}.tsv").write_text("\n".join(rows) + "\n")
    tasks = {
        "weather": {
            "kind": "multilabel", "labels": list(SEVERAL_WORDS), "text": "text", "label": "labels",
            "metrics": ["micro_f1", "macro_f1", "mean_average_precision"],
            "train": "weather_train.tsv", "dev": "weather_dev.tsv",
        },
        "rain": {
            "labels": ["no", "yes"], "metrics": ["f1", "average_precision"],
            "train": "rain_train.tsv", "dev": "rain_dev.tsv",
        },
    }  # fmt: skip
    (folder / "tasks.yaml").write_text(yaml.safe_dump(tasks))
    return folder / "tasks.yaml"


class Labelled(NamedTuple):
    """A run on the tasks of `write_labelled`, and the folder with their files and the student."""

    folder: Path
    result: Result

    def texts(self, task: str) -> list[str]:
        lines = (self.folder / f"{task}_dev.tsv").read_text().splitlines()[1:]
        return [line.split(TAB)[0] for line in lines]

    def of_task(self, task: str, columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The rows of a task in the dev predictions or in the curve of deferral."""
        rows = np.asarray(columns["task"]) == task
        return {name: np.asarray(column)[rows] for name, column in columns.items()}

    def runtime(self, backend: str) -> Student:
        return Student.load(self.folder / "run" / backend, threads=1)


@pytest.fixture(scope="module", params=[PLAIN, StudentConfig(kind="bag", hidden=8, embedding=8)])
def labelled(
    request: pytest.FixtureRequest, quiet: None, tmp_path_factory: pytest.TempPathFactory
) -> Labelled:
    folder = tmp_path_factory.mktemp("labelled")
    config = demo_config(
        folder / "cache",
        data=DataConfig("files", str(write_labelled(folder)), selection_fraction=0.2),
        student=request.param,
        train=TrainConfig(steps=100, batch_size=16, eval_every=50, learning_rate=0.02),
        export=ExportConfig(max_loss=100),
    )
    return Labelled(folder, run(config, folder / "run"))


def test_a_multilabel_task_works_from_its_file_to_its_answers(labelled: Labelled) -> None:
    """The exported student and the dev predictions reproduce the run's scores."""
    trained = labelled.result
    metrics = trained.metrics
    for model in ("", "teacher/", "baseline/"):
        names = ("micro_f1", "macro_f1", "mean_average_precision", "ece", "score")
        assert all(f"{model}quality/weather/{name}" in metrics for name in names)
    assert metrics["quality/weather/micro_f1"] > metrics["majority/quality/weather/score"]
    assert metrics["export/onnx/loss"] == pytest.approx(0, abs=0.1)
    (note,) = [note for note in trained.notes if "serve distillation only" in note]
    assert " training rows have no label" in note

    columns = labelled.of_task("weather", trained.predictions)
    margins, gold = (columns[name].reshape(-1, 3) for name in ("prediction", "label"))
    assert columns["row"].tolist() == np.repeat(np.arange(40), 3).tolist()
    together = 2 * (gold * (margins >= 0)).sum() / (gold.sum() + (margins >= 0).sum())
    assert 100 * together == pytest.approx(metrics["quality/weather/micro_f1"])

    assert metrics["quality/weather/ece"] < metrics["calibration/weather/ece_before"]
    curve = labelled.of_task("weather", trained.deferral)
    assert curve["lost"][0] == 0 == curve["answered"][0]
    gap = metrics["teacher/quality/weather/score"] - metrics["quality/weather/score"]
    assert curve["lost"][-1] == pytest.approx(gap) and curve["answered"][-1] == 100

    texts = labelled.texts("weather")
    for backend in ("onnx", "int8"):
        runtime = labelled.runtime(backend)
        cuts = runtime.heads["weather"].cuts
        assert np.isfinite(cuts).all() and cuts != (0,) * 3
        answers = runtime.predict(texts, "weather")
        temperature = runtime.heads["weather"].temperature
        assert temperature == pytest.approx(metrics["calibration/weather/temperature"]) != 1
        least = float(curve["min_confidence"][10])
        sure = np.mean([each.answered for each in runtime.predict(texts, "weather", least)])
        assert 100 * sure == pytest.approx(
            curve["answered"][10], abs=0.01 if backend == "onnx" else 10
        )
        assert answers[0].labels == runtime.predict(texts[:1], "weather")[0].labels
        predicted = np.array(
            [[word in (each.labels or []) for word in SEVERAL_WORDS] for each in answers]
        )
        again = 200 * (gold * predicted).sum() / (gold.sum() + predicted.sum())
        assert again == pytest.approx(
            metrics["quality/weather/micro_f1"], abs=0.01 if backend == "onnx" else 10
        )


def test_a_rare_class_has_a_threshold_in_the_run_and_the_export(labelled: Labelled) -> None:
    """The exported student's labels equal the dev predictions, whose F1 is that of the run."""
    trained = labelled.result
    columns, f1 = labelled.of_task("rain", trained.predictions), trained.metrics["quality/rain/f1"]
    gold, predicted = columns["label"] == 1, columns["prediction"] > 0
    assert f1 == pytest.approx(200 * (gold & predicted).sum() / (gold.sum() + predicted.sum()))
    texts, runtime = labelled.texts("rain"), labelled.runtime("onnx")
    low, high = runtime.heads["rain"].cuts
    assert low + high == pytest.approx(0) and high != 0
    labels = [each.label for each in runtime.predict(texts, "rain")]
    assert labels == ["yes" if each else "no" for each in predicted]
    assert labels == [runtime.predict([text], "rain")[0].label for text in texts]
    curve = labelled.of_task("rain", trained.deferral)
    gap = trained.metrics["teacher/quality/rain/score"] - trained.metrics["quality/rain/score"]
    assert curve["lost"][-1] == pytest.approx(gap) and curve["answered"][-1] == 100


def write_answers(folder: Path, questions: int, candidates: int) -> Path:
    """Questions with candidate answers; most of those that name the question's word are right."""
    draw = random.Random(1)
    for name, num in (("train", questions), ("dev", questions // 2)):
        rows = [f"question{TAB}answer{TAB}label"]
        for place in range(num):
            for word in draw.sample(SEVERAL_WORDS * 2, candidates):
                asked = SEVERAL_WORDS[place % 3]
                right = "yes" if word == asked and draw.random() < 0.8 else "no"
                rows.append(f"is there {asked} in {name} {place}{TAB}the {word}{TAB}{right}")
        (folder / f"{name}.tsv").write_text("\n".join(rows) + "\n")
    task = {
        "text": ["question", "answer"], "label": "label", "labels": ["no", "yes"],
        "metrics": ["map", "mrr", "accuracy"], "train": "train.tsv", "dev": "dev.tsv",
    }  # fmt: skip
    (folder / "tasks.yaml").write_text(yaml.safe_dump({"answers": task}))
    return folder / "tasks.yaml"


def test_answers_to_a_question_are_ranked_and_resampled_together(tmp_path: Path) -> None:
    """The dev predictions reproduce the run's scores, with groups by the question's text."""
    config = demo_config(
        tmp_path / "cache",
        data=DataConfig("files", str(write_answers(tmp_path, 40, 4)), selection_fraction=0.3),
    )
    trained = run(config, tmp_path / "run")
    metrics, columns = trained.metrics, trained.predictions
    questions = [line.split(TAB)[0] for line in (tmp_path / "dev.tsv").read_text().splitlines()[1:]]
    assert len(set(zip(columns["group"], questions, strict=True))) == len(set(questions)) == 20
    for name, kind in (("map", "average"), ("mrr", "first")):
        scores = []
        for question in dict.fromkeys(questions):
            rows = [place for place, each in enumerate(questions) if each == question]
            margins, gold = columns["prediction"][rows], columns["label"][rows] == 1
            order = np.lexsort([gold, -margins])  # wrong answers first among equal margins
            hits = gold[order].nonzero()[0]
            if len(hits) and (kind == "first" or len(set(margins)) == len(margins)):
                at = [(number + 1) / (place + 1) for number, place in enumerate(hits)]
                scores.append(at[0] if kind == "first" else np.mean(at))
        if kind == "first" or len(set(columns["prediction"])) == len(questions):
            assert metrics[f"quality/answers/{name}"] == pytest.approx(100 * np.mean(scores))
    assert metrics["teacher/quality/answers/map"] > 0 < metrics["majority/quality/answers/score"]
    resampled_scores = resampled(
        split_answers(pd.DataFrame(columns)), {"answers": ["map", "mrr", "accuracy"]}
    )
    assert resampled_scores.tasks["answers"][0] == pytest.approx(metrics["quality/answers/score"])
    assert resampled_scores.tasks["answers"][1:].std() > 0


def test_a_ranking_metric_is_refused_without_groups_to_rank(
    tmp_path: Path,
) -> None:
    path = str(write_answers(tmp_path, 30, 1))
    message = "answers: the metrics map and mrr rank rows with the same first text; allowed: a "
    with pytest.raises(ValueError, match=f"^{message}task whose dev rows have a group with both"):
        run(demo_config(tmp_path / "cache", data=DataConfig("files", path)), tmp_path / "run")
