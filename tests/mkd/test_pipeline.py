import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import DistilBertConfig, DistilBertModel

from experiments.settings import Finetune
from experiments.tracking import table
from experiments.tracking.table import scores
from mkd.config import (
    AugmentConfig,
    Config,
    DataConfig,
    DemoConfig,
    ExportConfig,
    FinetuneConfig,
    LossConfig,
    SamplingConfig,
    SpeedConfig,
    StudentConfig,
    TeacherConfig,
    TrainConfig,
    TransferConfig,
)
from mkd.evaluation.scoring import dev_logits, eager, quality
from mkd.pipeline import prepare, run, run_teacher
from mkd.result import MODEL, Report, Result, silent
from mkd.runs.finetune import no_use, run_finetune
from mkd.storage.pretrained import load_tokenizer
from mkd.students import load_model
from mkd.students.embeddings import input_table
from mkd.tasks.sources import load_tasks
from mkd.tokenization.tokenise import task_data
from mkd.tokenization.tokens import layout_of
from tests.support.needs import real_glue
from tests.support.official import lines_of, rows
from tests.support.tiny import MINILM, Tokenizer

TAB = "\t"
pytestmark = pytest.mark.usefixtures("quiet")
TASKS = ["sentiment", "paraphrase", "similarity"]
BILSTM = StudentConfig(kind="bilstm", hidden=8, embedding=8)
TRANSFORMER = StudentConfig(kind="transformer", init="teacher", hidden=16, heads=2, layers=1)
QUALITY = {
    *(f"sentiment/{name}" for name in ("accuracy", "score", "ece")),
    *(f"paraphrase/{name}" for name in ("accuracy", "f1", "score", "ece")),
    *(f"similarity/{name}" for name in ("pearson", "spearman", "score")),
    "mean",
}
QUALITY_OF = [f"quality/{name}" for name in sorted(QUALITY)]


def config_of(cache: Path, **changes: Any) -> Config:
    """Three tasks of the demo suite, a teacher and a student of eight steps each."""
    train = TrainConfig(steps=8, batch_size=8, eval_every=4)
    config = Config(
        device="cpu", cache=str(cache),
        data=DataConfig(tasks=TASKS, max_length=64,
                        demo=DemoConfig(train_rows=60, unlabelled_rows=20, dev_rows=30)),
        teacher=TeacherConfig(layers=2, hidden=16, heads=2, vocabulary=400, train=train),
        student=BILSTM, train=train,
        speed=SpeedConfig(length=16, batch_size=2, threads=[1], seconds=0.1),
        export=ExportConfig(backends=[]),
    )  # fmt: skip
    return replace(config, **changes)


def of_quality(result: Result) -> dict[str, float]:
    """Everything that does not depend on how busy the machine is, of the student in torch."""
    return {
        name: value
        for name, value in result.metrics.items()
        if "speed/" not in name and not name.startswith("export/")
    }


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def reports() -> list[dict[str, float]]:
    return []


@pytest.fixture(scope="module")
def result(shared: Path, reports: list[dict[str, float]]) -> Result:
    config = config_of(
        shared / "cache", export=ExportConfig(max_loss=100)
    )  # after eight steps 8 bits may lose much
    return run(config, shared / "student", lambda step, metrics: reports.append(metrics))


def test_a_run_gives_every_metric(result: Result) -> None:
    likewise = {*TASKS, "mean"}
    settings = ("b1-text-t1", "b1-l16-t1", "b2-text-t1")
    statistics = {f"{setting}/{name}" for setting in settings for name in ("calls", "rows_per_s")}
    statistics |= {f"{setting}/p50_ms" for setting in settings[:2]}
    depend_on_time = ("p95_ms", "p99_ms", "b2-text-t1/p50_ms")
    backends = ("torch", "onnx", "int8")
    expected = {
        *(
            f"{prefix}quality/{name}"
            for prefix in ("", "teacher/", "baseline/")
            for name in QUALITY
        ),
        *(
            f"{kind}/{name}"
            for kind in ("agreement", "selected", "majority/selection")
            for name in likewise
        ),
        *(f"majority/quality/{task}/score" for task in TASKS),
        "majority/quality/mean",
        *(
            f"{model}/{name}"
            for model in ("teacher/speed/torch", *(f"speed/{b}" for b in backends))
            for name in statistics
        ),
        *(f"speed/{backend}/{setting}/ratio" for backend in backends for setting in settings),
        *(
            f"{whose}speed/{name}"
            for whose in ("", "teacher/")
            for name in ("busy_share", "protocol")
        ),
        *(
            f"export/{b}/{name}"
            for b in backends[1:]
            for name in ("max_difference", "loss", "bytes", "offered", "quality/mean")
        ),
        *(
            f"export/{backend}/{name}"
            for backend in backends[1:]
            for name in ("loss_batches", "loss_single_rows")
        ),
        *(f"export/{backend}/quality/{task}/score" for backend in backends[1:] for task in TASKS),
        *(
            f"size/{name}"
            for name in ("parameters", "parameters_without_embeddings", "bytes", "flops")
        ),
        *(
            f"data/{t}/{name}"
            for t in TASKS
            for name in ("groups", "largest_group", "grouped_share", "selected_groups")
        ),
        *(f"data/{task}/{name}" for task in TASKS for name in ("left_out", "apart")),
        *(f"data/{task}/{name}" for task in TASKS for name in ("cut", "unknown")),
    }
    retained = {name for name in result.metrics if name.startswith("retention/")}
    assert {
        name for name in result.metrics if not name.endswith(depend_on_time)
    } - retained == expected
    assert retained == {
        f"retention/{t}" for t in TASKS if result.metrics[f"teacher/quality/{t}/score"] > 0
    } | {"retention/mean"}
    assert all(math.isfinite(value) for value in result.metrics.values())


def test_without_any_seconds_for_it_speed_is_not_measured(shared: Path) -> None:
    config = config_of(
        shared / "cache",
        baseline=False,
        export=ExportConfig(backends=[]),
        speed=SpeedConfig(length=16, seconds=0),
    )
    found = run(config, shared / "unmeasured")
    assert not [name for name in found.metrics if "speed/" in name] and found.exported == ""
    assert not [line for line in table.lines(found) if line.startswith(("| ms", "| rows"))]


def test_ratios_and_retention_follow_from_their_parts(result: Result) -> None:
    found = result.metrics
    setting = "speed/torch/b1-text-t1"
    assert (
        found[f"{setting}/ratio"] == found[f"teacher/{setting}/p50_ms"] / found[f"{setting}/p50_ms"]
    )
    assert found["retention/mean"] == pytest.approx(
        100 * found["quality/mean"] / found["teacher/quality/mean"]
    )


def test_the_kept_weights_score_best(result: Result, reports: list[dict[str, float]]) -> None:
    curve = [metrics for metrics in reports if "selection/mean" in metrics]
    best = max(curve, key=lambda metrics: metrics["selection/mean"])
    assert len(curve) == 2
    assert {
        f"selected/{name}": best[f"selection/{name}"] for name in (*TASKS, "mean")
    } == pytest.approx(
        {name: value for name, value in result.metrics.items() if name.startswith("selected/")}
    )


def test_a_run_tells_its_data_its_teacher_and_its_hardware(result: Result, shared: Path) -> None:
    assert [dataset.task for dataset in result.datasets] == TASKS
    for dataset in result.datasets:
        assert dataset[3:] == (74, 20, 6, 30), (
            "60 labelled rows, of which a tenth is set apart, and 20 without a label"
        )
        assert dataset.source == f"the generated suite, {dataset.task}, train"
    # Eight steps do not always make a good teacher or student.
    told = [note for note in result.notes if "WEAK" not in note]
    assert told[:3] == [
        f"{t}: 20 of 74 training rows have no label and serve distillation only" for t in TASKS
    ]
    groups = [note.split(" groups of rows that overlap, the largest of ")[0] for note in told[3:]]
    assert groups == [f"{t}: {result.metrics[f'data/{t}/groups']:.0f}" for t in TASKS]
    assert result.teacher == "bert-2x16"
    assert (shared / "cache" / "teachers" / result.teacher_key).is_dir()
    assert result.hardware["torch"] == torch.__version__


def test_a_weak_student_and_unread_rows_are_told(result: Result) -> None:
    """By the answers that it leaves: the standard error of a share of 30 rows."""
    labels = result.predictions["label"][result.predictions["task"] == "sentiment"]
    share = 100 * max(labels.mean(), 1 - labels.mean())
    weak = (
        result.metrics["quality/sentiment/accuracy"]
        < share + 2 * (share * (100 - share) / len(labels)) ** 0.5
    )
    told = [note for note in result.notes if note.startswith("sentiment: WEAK STUDENT: it scores ")]
    assert len(labels) == 30 and len(told) == weak
    for task in TASKS:
        assert result.metrics[f"data/{task}/cut"] == result.metrics[f"data/{task}/unknown"] == 0


def test_all_trainings_are_reported(result: Result, reports: list[dict[str, float]]) -> None:
    names = {name for metrics in reports for name in metrics}
    assert {f"{prefix}selection/mean" for prefix in ("", "teacher/", "baseline/")} <= names
    assert {f"{prefix}train/learning_rate" for prefix in ("", "teacher/", "baseline/")} <= names
    phases = {
        name: [metrics[name] for metrics in reports if name in metrics]
        for name in names
        if name.startswith("progress/")
    }
    assert phases.keys() == {
        f"progress/{phase}"
        for phase in (
            *(
                "teacher tokens",
                "teacher",
                "student tokens",
                "student",
                "baseline/student",
                "export",
                "speed",
                "teacher speed",
            ),
            *(f"logits of {task}" for task in TASKS),
        )
    }
    assert all(shares[-1] == 1 for shares in phases.values())


def test_the_saved_student_scores_what_was_reported(result: Result, shared: Path) -> None:
    config = config_of(shared / "cache")
    student, tokenizer = load_model(Path(result.folder)), load_tokenizer(Path(result.folder), "")
    datas = [
        task_data(shared / "cache", task, tokenizer, config.data, config.seed)
        for task in load_tasks(config.data)
    ]
    found = quality(
        datas, dev_logits(eager(student), datas, layout_of(tokenizer, student.joined, 64))
    )
    assert found == {
        name: value for name, value in result.metrics.items() if name.startswith("quality/")
    }


def test_a_run_with_fresh_caches_gives_the_same_numbers(result: Result, tmp_path: Path) -> None:
    again = run(config_of(tmp_path / "cache"), tmp_path / "student")
    assert of_quality(again) == of_quality(result)
    assert (again.datasets, again.teacher_key) == (result.datasets, result.teacher_key)


def test_full_caches_give_the_same_numbers(result: Result, shared: Path, tmp_path: Path) -> None:
    told: set[str] = set()
    again = run(config_of(shared / "cache"), tmp_path, lambda step, metrics: told.update(metrics))
    assert of_quality(again) == of_quality(result)
    assert not any(name.startswith(("teacher/", "progress/logits")) for name in told)


def test_labels_alone_need_no_teacher_and_no_baseline(result: Result, tmp_path: Path) -> None:
    told: set[str] = set()
    config = config_of(tmp_path / "cache", loss=LossConfig(hard_weight=1.0))
    hard = run(config, tmp_path / "student", lambda step, metrics: told.update(metrics))
    assert not any("teacher" in name or "logits" in name or "baseline" in name for name in told)
    assert (
        not (tmp_path / "cache" / "teachers").exists()
        and not (tmp_path / "cache" / "logits").exists()
    )
    assert (hard.teacher, hard.teacher_key) == ("", "")
    compared = ("baseline/", "teacher/", "retention/", "agreement/")
    assert not any(name.startswith(compared) or name.endswith("/ratio") for name in hard.metrics)
    assert np.isnan(hard.predictions["teacher"]).all() and len(hard.predictions["teacher"]) == 90
    twin = {
        name.removeprefix("baseline/"): v
        for name, v in result.metrics.items()
        if name.startswith("baseline/")
    }
    assert {name: hard.metrics[name] for name in twin} == twin, (
        "it is the other run's baseline, by the same vocabulary"
    )


@pytest.mark.parametrize("end", [None, 1.0])
def test_labels_alone_need_only_a_tokenizer(end: float | None, tmp_path: Path) -> None:
    load_tokenizer(MINILM, "").save_pretrained(tmp_path / "words")
    teacher = TeacherConfig(checkpoint=str(tmp_path / "words"))
    loss = LossConfig(hard_weight=1.0, hard_weight_end=end)
    assert (
        run(config_of(tmp_path / "cache", teacher=teacher, loss=loss), tmp_path / "student").teacher
        == ""
    )
    with pytest.raises(ValueError, match="no readable config.json"):
        run(
            config_of(
                tmp_path / "cache",
                teacher=teacher,
                loss=LossConfig(hard_weight=1.0, hard_weight_end=0.9),
            ),
            tmp_path,
        )


@pytest.mark.parametrize(
    "student", [TRANSFORMER, replace(BILSTM, init="teacher")], ids=lambda student: student.kind
)
def test_labels_alone_need_the_teacher_whose_weights_the_student_takes(
    student: StudentConfig, result: Result, shared: Path, tmp_path: Path
) -> None:
    told: set[str] = set()
    config = config_of(shared / "cache", loss=LossConfig(hard_weight=1.0), student=student)
    hard = run(config, tmp_path / "hard", lambda step, metrics: told.update(metrics))
    assert hard.teacher_key == result.teacher_key and "agreement/mean" in hard.metrics
    assert not any("logits" in name for name in told)
    taught = run(replace(config, loss=LossConfig()), tmp_path / "taught")
    assert {name: hard.metrics[name] for name in QUALITY_OF} == {
        n: taught.metrics[f"baseline/{n}"] for n in QUALITY_OF
    }


def test_it_can_start_from_teacher_layers(result: Result, shared: Path, tmp_path: Path) -> None:
    told: set[str] = set()
    config = config_of(shared / "cache", student=replace(TRANSFORMER, keep=[1]), baseline=False)
    found = run(config, tmp_path, lambda step, metrics: told.update(metrics))
    assert found.teacher == "bert-2x16", "the teacher keeps its layers"
    assert found.teacher_key == result.teacher_key
    assert "baseline/quality/mean" not in found.metrics
    assert load_model(tmp_path / MODEL).config.encoder["num_hidden_layers"] == 1


def test_added_rows_need_no_other_teacher(result: Result, shared: Path, tmp_path: Path) -> None:
    """Augmented rows, and a file for all tasks of single texts; stored logits are looked for by
    their manifests."""

    def stores(kind: str) -> set[Path]:
        return {path.parent for path in (shared / "cache" / kind).glob("*/manifest.json")}

    (tmp_path / "more.csv").write_text("body\nthe film was fine\nnobody came\n")
    config = config_of(shared / "cache", baseline=False)
    transfer = [TransferConfig(str(tmp_path / "more.csv"), ["body"])]
    config = replace(
        config, data=replace(config.data, transfer=transfer, augment=AugmentConfig(multiple=2))
    )
    told: list[str] = []
    before = stores("logits")
    found = run(config, tmp_path / "student", lambda step, metrics: told.extend(metrics))
    assert found.teacher_key == result.teacher_key
    assert not any(name.startswith("teacher/") for name in told)
    assert told.count("progress/augmentation") == 3
    assert len(stores("logits") - before) == 1 + 3 + 3, (
        "the file's rows, the copies of each task, and all rows of each task"
    )
    for dataset, alone in zip(found.datasets, result.datasets, strict=True):
        assert dataset.source.endswith(f"{dataset.task}, augmented")
        assert ("more.csv" in dataset.source) == (dataset.task == "sentiment")
        assert alone.train_rows < dataset.train_rows <= alone.train_rows + 2 * 54 + 2
        assert (
            dataset.unlabelled_rows - alone.unlabelled_rows == dataset.train_rows - alone.train_rows
        )
        assert dataset.selection_rows == alone.selection_rows
        assert dataset.fingerprint != alone.fingerprint
    again = run(config, tmp_path / "again")
    assert of_quality(again) == of_quality(found)


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
    config = config_of(shared / "cache", student=student, baseline=False)
    found = run(config, tmp_path)
    assert (found.student, found.teacher_key) == (student.name, result.teacher_key)
    loaded, tokenizer = load_model(tmp_path / MODEL), load_tokenizer(tmp_path / MODEL, "")
    datas = [
        task_data(shared / "cache", task, tokenizer, config.data, config.seed)
        for task in load_tasks(config.data)
    ]
    again = quality(
        datas, dev_logits(eager(loaded), datas, layout_of(tokenizer, loaded.joined, 64))
    )
    assert again == {
        name: value for name, value in found.metrics.items() if name.startswith("quality/")
    }
    rows = input_table(loaded).num_embeddings
    assert rows < len(tokenizer) if student.min_count else rows == len(tokenizer)


def test_a_teacher_can_be_made_alone(result: Result, shared: Path, tmp_path: Path) -> None:
    found = run_teacher(config_of(shared / "cache"), tmp_path)
    assert {name for name in found.metrics if name.startswith("quality/")} == {
        f"quality/{name}" for name in QUALITY
    }
    for name in QUALITY:
        assert found.metrics[f"quality/{name}"] == result.metrics[f"teacher/quality/{name}"]
    assert found.metrics["size/bytes"] > 0
    assert found.teacher_key == result.teacher_key


def test_weights_for_other_tasks_are_refused_before_the_teacher_is_trained(tmp_path: Path) -> None:
    config = config_of(
        tmp_path / "cache", train=TrainConfig(sampling=SamplingConfig(weights={"sentiment": 1.0}))
    )
    told: set[str] = set()
    with pytest.raises(
        ValueError, match=r"sampling.weights names \['sentiment'\]; allowed: a weight for each of"
    ):
        run(config, tmp_path / "student", lambda step, metrics: told.update(metrics))
    assert not any(name.startswith("teacher/") for name in told)


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        assert prepare(Config(device="cuda")).type == "cuda"
    else:
        with pytest.raises(ValueError, match="device is 'cuda'; allowed: auto or cpu"):
            prepare(Config(device="cuda"))


def test_an_unfit_tokenizer_is_refused(result: Result, shared: Path, tmp_path: Path) -> None:
    config = config_of(shared / "cache", student=replace(TRANSFORMER, tokenizer=str(MINILM)))
    with pytest.raises(ValueError, match="student.tokenizer is '.*'; allowed: "):
        run(config, tmp_path)


def test_an_encoder_with_other_size_names_teaches(tmp_path: Path, tokenizer: Tokenizer) -> None:
    sizes: dict[str, Any] = {"dim": 16, "n_heads": 2, "n_layers": 1, "hidden_dim": 32}
    DistilBertModel(DistilBertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(
        tmp_path / "distilbert"
    )
    tokenizer = copy.deepcopy(tokenizer)  # the fixture is shared with other tests
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(tmp_path / "distilbert")
    config = config_of(tmp_path / "cache", baseline=False)
    config = replace(
        config, teacher=replace(config.teacher, checkpoint=str(tmp_path / "distilbert"))
    )
    assert run(config, tmp_path / "student").teacher == "distilbert-1x16"


def made_reviews(split: str, num: int) -> list[str]:
    """Lines of reviews as in SST-2's file of a split, with its header."""
    return [
        "sentence\tlabel",
        *(f"{row.text_a}\t{int(row.label or 0)}" for row in rows("sst2", num, len(split))),
    ]


def real_reviews(split: str, num: int) -> list[str]:
    folder = real_glue()
    assert folder, "the test that wants it is marked"
    return lines_of(folder / "SST-2" / f"{split}.tsv", 1 + num)


@pytest.mark.parametrize(
    "reviews", [made_reviews, pytest.param(real_reviews, marks=pytest.mark.real_data)]
)
def test_a_student_of_minilm_learns_reviews(
    reviews: Callable[[str, int], list[str]], tmp_path: Path
) -> None:
    """300 rows, 100 of them without a label, and 200 dev rows; the student is one layer of the
    teacher."""
    header, *lines = reviews("train", 300)
    lines = [f"{line.split(TAB)[0]}{TAB}" if i >= 200 else line for i, line in enumerate(lines)]
    (tmp_path / "train.tsv").write_text("".join(f"{line}\n" for line in (header, *lines)))
    (tmp_path / "dev.tsv").write_text("".join(f"{line}\n" for line in reviews("dev", 200)))
    described = {
        "kind": "classification", "labels": ["0", "1"], "text": "sentence", "label": "label",
        "metrics": ["accuracy"],
    }  # fmt: skip
    (tmp_path / "tasks.yaml").write_text(
        yaml.safe_dump({"sst2": described | {"train": "train.tsv", "dev": "dev.tsv"}})
    )
    train = TrainConfig(steps=30, batch_size=16, learning_rate=2e-4, eval_every=15)
    config = Config(
        device="cpu",
        cache=str(tmp_path / "cache"),
        baseline=False,
        data=DataConfig(source="files", path=str(tmp_path / "tasks.yaml"), max_length=32),
        teacher=TeacherConfig(checkpoint=str(MINILM), train=train),
        student=StudentConfig(kind="transformer", init="teacher", hidden=384, heads=12, layers=1),
        train=train,
        speed=SpeedConfig(length=16, batch_size=2, threads=[1], seconds=0.1),
        export=ExportConfig(backends=[]),
    )
    found = run(config, tmp_path / "student")
    # Unlabelled rows that overlap with those that are set apart are left out.
    left_out = found.metrics["data/sst2/left_out"]
    assert found.datasets[0][3:] == (280 - left_out, 100 - left_out, 20, 200) and left_out < 20
    labels = [
        line.rstrip("\n").split("\t")[1]
        for line in (tmp_path / "dev.tsv").read_text().splitlines()[1:]
    ]
    constant = 100 * max(np.mean([label == name for label in labels]) for name in "01")
    assert found.metrics["teacher/quality/sst2/accuracy"] > constant
    assert found.metrics["quality/sst2/accuracy"] > constant
    assert found.metrics["agreement/sst2"] > constant
    assert found.metrics["speed/torch/b2-text-t1/ratio"] > 0


@pytest.mark.parametrize(
    ("student", "told"),
    [
        (StudentConfig(kind="transformer", init="teacher", hidden=24, heads=2, layers=1),
         "student.hidden is 24; allowed: 16"),
        (StudentConfig(kind="transformer", init="teacher", hidden=16, heads=2, layers=3),
         "layers 0 to 1"),
        (StudentConfig(kind="bilstm", init="teacher", hidden=8, embedding=17),
         "student.embedding is 17; allowed: at most 16"),
        (StudentConfig(kind="bag", min_count=10**6),
         "student.min_count is 1000000; allowed: at most"),
        (StudentConfig(kind="bilstm", init="no-such-folder/at/all"),
         "student.init is 'no-such-folder/at/all'"),
    ],
)  # fmt: skip
def test_a_misfit_student_is_refused(student: StudentConfig, told: str, tmp_path: Path) -> None:
    steps: list[str] = []
    with pytest.raises(ValueError, match=told):
        run(
            config_of(tmp_path / "cache", student=student),
            tmp_path / "s",
            lambda _, metrics: steps.extend(metrics),
        )
    assert (
        not [name for name in steps if "train/" in name]
        and not (tmp_path / "cache" / "teachers").exists()
    )


def finetuning(
    cache: Path, student: str, tasks: list[str], loss: LossConfig, **data: Any
) -> Finetune:
    """Eight steps more, of the student in a folder."""
    config = config_of(cache)
    own = {
        name: getattr(config, name)
        for name in Finetune.__dataclass_fields__
        if hasattr(config, name)
    }
    how = FinetuneConfig(student, loss, config.train)
    return Finetune(**own | {"data": replace(config.data, tasks=tasks, **data), "finetune": how})


def tuned(config: Finetune, folder: Path, report: Report = silent) -> Result:
    return run_finetune(config.core(), config.finetune, folder, report)


def test_finetuning_scores_before_and_after(result: Result, shared: Path, tmp_path: Path) -> None:
    """One task that it knows and one that is new to it; the one it does not go on with is gone."""
    told: set[str] = set()
    config = finetuning(
        shared / "cache", result.folder, ["paraphrase", "entailment"], LossConfig(hard_weight=1.0)
    )
    found = tuned(config, tmp_path, lambda step, metrics: told.update(metrics))
    before = {name: value for name, value in found.metrics.items() if name.startswith("before/")}
    assert before == {
        f"before/{k}": v for k, v in result.metrics.items() if k.startswith("quality/paraphrase/")
    }
    assert {
        "quality/paraphrase/score",
        "quality/entailment/score",
        "quality/mean",
        "size/bytes",
    } <= found.metrics.keys()
    assert (
        not any(name.startswith("teacher/") for name in {*told, *found.metrics})
        and found.teacher == ""
    )
    assert {"train/hard/entailment", "selection/mean", "sampling/paraphrase"} <= told
    assert list(load_model(tmp_path / MODEL).config.tasks) == ["entailment", "paraphrase"]


def test_finetuning_has_a_twin_started_anew(result: Result, shared: Path, tmp_path: Path) -> None:
    """On the tasks that it was distilled on, with the labels alone, the latter is the twin that it
    had then."""
    config = finetuning(shared / "cache", result.folder, TASKS, LossConfig(hard_weight=1.0))
    told: dict[str, float] = {}
    found = tuned(config, tmp_path / "tuned", lambda step, metrics: told.update(metrics))
    assert {name: found.metrics[f"anew/{name}"] for name in QUALITY_OF} == {
        n: result.metrics[f"baseline/{n}"] for n in QUALITY_OF
    }
    assert "anew/train/hard/sentiment" in told and told["progress/anew/student"] == 1
    table = scores(found)
    assert table[0].split() == [
        "|", "score", "on", "dev", "|", "before", "|", "student", "|", "anew", "|",
    ]  # fmt: skip
    assert f"{found.metrics['anew/quality/mean']:.1f}" in table[-1]
    alone = tuned(replace(config, baseline=False), tmp_path / "alone")
    assert not any(name.startswith("anew/") for name in alone.metrics)
    assert {name: alone.metrics[name] for name in QUALITY_OF} == {
        name: found.metrics[name] for name in QUALITY_OF
    }


def test_a_fine_tuning_that_is_worse_than_to_start_anew_says_so() -> None:
    assert no_use({"quality/mean": 61.2, "anew/quality/mean": 70.3})[0].startswith(
        "THE STUDENT'S TRAINING BEFORE IS OF NO USE HERE: started anew it scores 70.3"
    )
    assert (
        no_use({"quality/mean": 70.3, "anew/quality/mean": 70.3})
        == no_use({"quality/mean": 61.2})
        == []
    )


def test_finetuning_may_use_logits_too(result: Result, shared: Path, tmp_path: Path) -> None:
    told: set[str] = set()
    config = finetuning(
        shared / "cache", result.folder, TASKS, LossConfig(kind="mse", hard_weight=0.5)
    )
    found = tuned(config, tmp_path, lambda step, metrics: told.update(metrics))
    assert found.teacher_key == result.teacher_key, "the teacher that was there"
    assert found.metrics["before/quality/mean"] == result.metrics["quality/mean"]
    assert {
        "agreement/mean",
        "teacher/quality/mean",
        "speed/torch/b1-text-t1/ratio",
    } <= found.metrics.keys()
    assert "train/soft/sentiment" in told


def test_what_cannot_be_finetuned_is_refused(result: Result, shared: Path, tmp_path: Path) -> None:
    hard = LossConfig(hard_weight=1.0)
    for student in ("", str(tmp_path)):
        with pytest.raises(
            ValueError,
            match=f"finetune.student is '{student}'; allowed: a folder that holds a distilled",
        ):
            tuned(finetuning(shared / "cache", student, TASKS, hard), tmp_path / "s")
    with pytest.raises(
        ValueError,
        match="data.max_length is 65; allowed: at most 64, as finetune.student was trained",
    ):
        tuned(
            finetuning(shared / "cache", result.folder, TASKS, hard, max_length=65), tmp_path / "s"
        )
    weighed = LossConfig(hard_weight=1.0, task_weights={"sentiment": 1.0})
    with pytest.raises(
        ValueError, match=r"loss.task_weights names \['sentiment'\]; allowed: a weight for each of"
    ):
        tuned(finetuning(shared / "cache", result.folder, TASKS, weighed), tmp_path / "s")


def test_every_loss_setting_at_once_distils(shared: Path, tmp_path: Path) -> None:
    loss = LossConfig(hard_weight_end=1.0, balance="uncertainty")
    train = replace(config_of(shared).train, sampling=SamplingConfig(alpha=1.0, alpha_end=0.0))
    told: dict[str, float] = {}
    run(
        config_of(shared / "cache", loss=loss, train=train),
        tmp_path,
        lambda step, metrics: told.update(metrics),
    )
    assert {
        "train/log_variance/similarity",
        "baseline/train/log_variance/similarity",
        "sampling/similarity",
    } <= told.keys()
    for prefix in ("", "baseline/"):
        shares = [value for name, value in told.items() if name.startswith(f"{prefix}sampling/")]
        assert sum(shares) == pytest.approx(1) and all(
            (24 * share).is_integer() for share in shares
        )


def test_finetuning_is_the_same_with_a_found_teacher(shared: Path, tmp_path: Path) -> None:
    """The student has dropout, so its training draws numbers too."""
    student = replace(BILSTM, dropout=0.2)
    start = run(config_of(shared / "cache", student=student, baseline=False), tmp_path / "start")
    config = finetuning(
        tmp_path / "cache", start.folder, ["paraphrase"], LossConfig(hard_weight=0.5)
    )
    made, found = (tuned(config, tmp_path / name) for name in ("made", "found"))
    assert of_quality(made) == of_quality(found)
    weights = [load_model(tmp_path / name / MODEL).state_dict() for name in ("made", "found")]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
