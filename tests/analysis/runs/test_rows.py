"""Runs as rows: the backend that is drawn, the content of columns, and reasons to leave a run
out."""

from datetime import UTC, datetime

import pytest

from analysis.runs.rows import (
    HEADLINE,
    RunRecord,
    StudyTiming,
    batch_setting,
    fastest,
    machine_of,
    row,
    scored_tasks,
    suite,
    task_metrics,
    why_left_out,
)
from mkd.evaluation import speed

METRICS = {
    "quality/sst2/accuracy": 90.0, "quality/sst2/score": 90.0, "quality/sst2/ece": 0.05,
    "quality/mnli/accuracy": 70.0, "quality/mnli/accuracy_mismatched": 72.0,
    "quality/mnli/score": 71.0, "quality/mean": 80.5, "teacher/quality/sst2/score": 92.0,
    "teacher/quality/mnli/score": 80.0, "teacher/quality/mean": 86.0,
    "baseline/quality/sst2/score": 88.0, "baseline/quality/mean": 78.0, "retention/mean": 93.6,
    "retention/sst2": 97.8, "agreement/mean": 85.0, "size/parameters": 1e6, "size/bytes": 4e6,
    "export/int8/bytes": 1e6, "export/int8/loss": 0.3, "export/onnx/bytes": 4.1e6,
    "speed/torch/b1-text-t1/p50_ms": 4.0, "speed/torch/b1-text-t1/rows_per_s": 250.0,
    "speed/onnx/b1-text-t1/p50_ms": 2.0, "speed/onnx/b1-text-t1/rows_per_s": 500.0,
    "speed/int8/b1-text-t1/p50_ms": 1.0, "speed/int8/b1-text-t1/rows_per_s": 1000.0,
    "speed/int8/b32-text-t1/p50_ms": 16.0, "speed/int8/b32-text-t1/rows_per_s": 2000.0,
    "speed/int8/b1-l128-t1/p50_ms": 0.2, "speed/int8/b1-text-t2/p50_ms": 0.7,
    "speed/busy_share": 0.1, "speed/protocol": 2.0, "teacher/speed/torch/b1-text-t1/p50_ms": 40.0,
    "teacher/speed/torch/b32-text-t1/rows_per_s": 30.0,
}  # fmt: skip
TAGS = {
    "mkd.kind": "distill",
    "mkd.student": "bilstm-128",
    "mkd.teacher": "bert-6x384",
    "mkd.hardware.cpu": "Some CPU",
    "mkd.hardware.cores": "2",
}
PARAMS = {"seed": "3", "data.source": "glue", "loss.temperature": "2.0", "cache": ".mkd"}
RECORD = RunRecord(
    "r1", "a run", "FINISHED", datetime(2026, 1, 2, tzinfo=UTC), PARAMS, METRICS, TAGS, "file:///a",
    "link",
)  # fmt: skip


def test_a_row_has_the_fastest_backend_for_one_text_on_one_thread() -> None:
    cells = row(RECORD)
    assert (cells["backend"], cells["setting"], cells["latency_ms"]) == ("int8", "b1-text-t1", 1.0)
    assert (cells["batch"], cells["rows_per_s"], cells["num_bytes"]) == ("b32-text-t1", 2000.0, 1e6)
    assert (cells["teacher_latency_ms"], cells["teacher_rows_per_s"]) == (40.0, 30.0)


def test_a_run_without_a_selection_version_was_drawn_row_by_row() -> None:
    assert row(RECORD)["drawn_by"] == "row by row"
    expected = "overlap-1"
    assert row(RECORD._replace(tags=TAGS | {"mkd.selection": "overlap-1"}))["drawn_by"] == expected


def test_a_trial_that_was_timed_in_float32_without_an_export_has_the_bytes_of_its_weights() -> None:
    trial = RECORD._replace(
        metrics={name: value for name, value in METRICS.items() if not name.startswith("export/")}
    )
    assert row(trial, StudyTiming("onnx", "b1-text-t1"))["num_bytes"] == 4e6
    assert row(trial, StudyTiming("int8", "b1-text-t1"))["num_bytes"] is None


def test_a_backend_that_did_not_pass_its_check_is_not_the_fastest() -> None:
    assert fastest(METRICS | {"export/int8/offered": 0.0}) == ("onnx", "b1-text-t1")


def test_latency_is_that_of_the_headline_setting() -> None:
    assert speed.HEADLINE_SETTING.name == HEADLINE


def test_a_row_has_its_protocol_and_the_larger_busy_share() -> None:
    assert (row(RECORD)["protocol"], row(RECORD)["busy_share"]) == ("2", 0.1)
    share = row(RECORD._replace(metrics=METRICS | {"teacher/speed/busy_share": 0.3}))["busy_share"]
    assert share == 0.3
    earlier = {
        name: value
        for name, value in METRICS.items()
        if name not in ("speed/busy_share", "speed/protocol")
    }
    assert (
        row(RECORD._replace(metrics=earlier))["protocol"],
        row(RECORD._replace(metrics=earlier))["busy_share"],
    ) == ("1", 0.0)


def test_a_study_has_its_own_backend_and_setting() -> None:
    assert fastest(METRICS, StudyTiming("torch", "b1-text-t1")) == ("torch", "b1-text-t1")
    assert row(RECORD, StudyTiming("torch", "b1-text-t1"))["num_bytes"] == 4e6
    assert row(RECORD)["backend_loss"] == 0.3
    assert row(RECORD, StudyTiming("torch", "b1-text-t1"))["backend_loss"] == 0.0
    assert fastest(METRICS, StudyTiming("program", "b1-text-t1")) is None


def test_a_row_has_the_scores_of_student_teacher_and_twin() -> None:
    cells = row(RECORD)
    assert (cells["mean"], cells["teacher_mean"], cells["baseline_mean"], cells["split"]) == (
        80.5,
        86.0,
        78.0,
        "dev",
    )
    assert (
        cells["score/sst2"],
        cells["score/mnli"],
        cells["teacher/mnli"],
        cells["baseline/sst2"],
    ) == (90.0, 71.0, 80.0, 88.0)
    assert "baseline/mnli" not in cells and cells["retention/sst2"] == 97.8


def test_a_row_has_the_score_on_selection_if_the_run_has_logged_it() -> None:
    logged = METRICS | {
        "selected/mean": 79.0,
        "selected/sst2": 88.0,
        "selected/mnli": 70.0,
        "search/quality": 78.0,
    }
    cells = row(RECORD._replace(metrics=logged))
    assert (cells["selection"], cells["selection/sst2"], cells["selection/mnli"]) == (
        79.0,
        88.0,
        70.0,
    )
    # A trial of an earlier version.
    assert row(RECORD._replace(metrics=METRICS | {"search/quality": 78.0}))["selection"] == 78.0
    old = row(RECORD._replace(metrics=METRICS | {"selection/mean": 81.0}))
    # The last point of a curve is not the score of the restored weights.
    assert old["selection"] is None and "selection/sst2" not in old


def test_a_row_has_the_settings_that_matter_by_their_names_and_the_seed() -> None:
    cells = row(RECORD)
    assert (cells["seed"], cells["loss.temperature"]) == (3, "2.0")
    assert "cache" not in cells
    assert cells["student_kind"] == "bilstm"


def test_a_finetuned_students_kind_is_that_of_the_student() -> None:
    kind = row(RECORD._replace(tags=TAGS | {"mkd.student": "bag finetuned"}))["student_kind"]
    assert kind == "bag"


def test_a_run_without_scores_on_dev_has_the_scores_of_its_search_and_says_so() -> None:
    metrics = {name: value for name, value in METRICS.items() if "quality/" not in name}
    metrics |= {
        "search/quality": 77.0,
        "selection/sst2": 85.0,
        "selection/mean": 77.0,
        "teacher/quality/mean": 86.0,
    }
    cells = row(RECORD._replace(metrics=metrics))
    assert (cells["mean"], cells["split"], cells["tasks"], cells["score/sst2"]) == (
        77.0,
        "selection",
        ("sst2",),
        85.0,
    )
    assert cells["teacher_mean"] is None, "its score is on other rows"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "RUNNING"}, "not finished"),
        ({"status": "FAILED"}, "failed"),
        ({"tags": TAGS | {"mkd.kind": "teacher"}}, "not a student's (teacher)"),
        ({"tags": {}}, "not a run of this project (no tag mkd.kind)"),
        ({"tags": TAGS | {"mkd.kind": "trial", "mkd.state": "pruned"}, "status": "KILLED"},
         "trial pruned"),
        ({"metrics": {n: v for n, v in METRICS.items() if n != "quality/mean"}}, "no quality"),
        ({"metrics": {n: v for n, v in METRICS.items() if not n.startswith("speed/")}},
         "no speed (one text on one thread)"),
        ({}, ""),
        ({"tags": TAGS | {"mkd.kind": "trial", "mkd.state": "complete"}}, ""),
    ],
)  # fmt: skip
def test_a_run_is_left_out_with_the_reason(change: dict[str, object], reason: str) -> None:
    assert why_left_out(RECORD._replace(**change)) == reason  # type: ignore[arg-type]


def test_a_run_not_timed_as_the_study_is_left_out() -> None:
    assert (
        why_left_out(RECORD, StudyTiming("program", "b1-text-t1"))
        == "no speed (program/b1-text-t1)"
    )


def test_the_tasks_are_those_with_scores_and_each_has_its_metrics_with_their_splits() -> None:
    assert scored_tasks(METRICS) == ["mnli", "sst2"]
    assert task_metrics(METRICS) == {
        "sst2": ["accuracy"],
        "mnli": ["accuracy", "accuracy_mismatched"],
    }


def test_throughput_is_that_of_the_largest_batch() -> None:
    assert batch_setting(METRICS, "int8", "b1-text-t1") == "b32-text-t1"
    assert batch_setting(METRICS, "onnx", "b1-text-t1") == "b1-text-t1"


def test_a_suite_is_its_source_and_tasks_and_of_the_demo_its_seed_and_rows() -> None:
    assert suite({"data.source": "glue"}, ["rte", "sst2"]) == "glue: rte, sst2"
    demo = {"data.source": "demo", "data.demo.seed": "1", "data.demo.dev_rows": "1000"}
    assert suite(demo, ["similarity"]) == "demo (seed 1, 1000 dev rows): similarity"


def test_a_machine_is_its_processor_and_cores() -> None:
    assert machine_of(TAGS) == "Some CPU, 2 cores"
    assert machine_of({}) == "unknown machine"
