"""A run's closing table and chart, from hand-made metrics."""

import math

import pytest

from experiments.tracking import card, picture, table
from mkd.result import Dataset, Result
from tests.support.text_boxes import faults

METRICS = {
    "quality/sst2/score": 85.0, "quality/rte/score": 55.0, "quality/mean": 70.0,
    "teacher/quality/sst2/score": 90.0, "teacher/quality/rte/score": 60.0,
    "teacher/quality/mean": 75.0, "baseline/quality/sst2/score": 82.0,
    "baseline/quality/rte/score": 54.0, "baseline/quality/mean": 68.0, "retention/sst2": 94.44,
    "retention/rte": 91.67, "retention/mean": 93.33, "agreement/sst2": 90.0, "agreement/rte": 70.0,
    "agreement/mean": 80.0, "speed/torch/b1-text-t1/p50_ms": 2.0,
    "speed/torch/b1-text-t1/rows_per_s": 450.0, "speed/torch/b1-text-t1/ratio": 20.0,
    "speed/int8/b1-text-t1/p50_ms": 0.5, "speed/int8/b1-text-t1/rows_per_s": 1900.0,
    "speed/int8/b1-text-t1/ratio": 80.0, "speed/torch/b1-l128-t1/p50_ms": 1.5,
    "speed/torch/b1-l128-t1/ratio": 22.0, "speed/int8/b1-l128-t1/p50_ms": 1.6,
    "speed/int8/b1-l128-t1/ratio": 21.0, "teacher/speed/torch/b1-l128-t1/p50_ms": 33.0,
    "speed/torch/b32-text-t2/p50_ms": 6.0, "speed/torch/b32-text-t2/rows_per_s": 5000.0,
    "speed/torch/b32-text-t2/ratio": 25.0, "speed/int8/b32-text-t2/rows_per_s": 6000.0,
    "speed/int8/b32-text-t2/ratio": 30.0, "speed/busy_share": 0.01, "speed/protocol": 2.0,
    "teacher/speed/torch/b1-text-t1/p50_ms": 40.0,
    "teacher/speed/torch/b32-text-t2/rows_per_s": 200.0, "teacher/speed/busy_share": 0.02,
    "teacher/speed/protocol": 2.0, "export/int8/quality/mean": 69.8,
    "export/int8/loss_batches": 0.2, "export/int8/loss_single_rows": 0.3,
    "export/int8/max_difference": 0.02, "export/int8/loss": 0.3, "export/int8/bytes": 4.2e6,
    "export/int8/offered": 1.0, "size/parameters": 4.2e6,
    "size/parameters_without_embeddings": 1.1e6, "size/bytes": 16.8e6, "size/flops": 3e8,
}  # fmt: skip
DATASETS = [Dataset("sst2", "a", "f", 100, 20, 10, 50), Dataset("rte", "b", "g", 40, 0, 4, 20)]
RESULT = Result(
    METRICS, DATASETS, ["sst2: a note"], {}, "bilstm-128", "bert-6x384", "key", "folder"
)


def squeezed(line: str) -> str:
    """The line without the blanks that align its columns."""
    return " ".join(line.split())


def test_the_table_has_a_row_per_task_and_a_column_per_role() -> None:
    printed = table.result_table(RESULT)
    expected = "| score on dev | teacher | student | hard labels | kept % | agreement % |"
    assert squeezed(printed[0]) == expected
    assert printed[2].split() == [
        "|", "sst2", "|", "90.0", "|", "85.0", "|", "82.0", "|", "94.4", "|", "90.0", "|",
    ]  # fmt: skip
    assert printed[4].split() == [
        "|", "mean", "|", "75.0", "|", "70.0", "|", "68.0", "|", "93.3", "|", "80.0", "|",
    ]  # fmt: skip
    lines = [squeezed(line) for line in printed]
    first = lines.index("| ms a call (median) | teacher | torch | int8 | times faster |")
    assert lines[first + 2 : first + 4] == [
        "| b1-text-t1 | 40.00 | 2.00 | 0.50 | 80.0 |",
        "| b1-l128-t1 | 33.00 | 1.50 | 1.60 | 22.0 |",
    ]
    first = lines.index("| rows a second | teacher | torch | int8 | times faster |")
    # The ratio is that of the fastest backend.
    assert lines[first + 2 : first + 4] == ["| b32-text-t2 | 200 | 5,000 | 6,000 | 30.0 |", ""]
    assert table.FASTER in lines
    assert "| int8 | 69.80 | 0.20 | 0.30 | 0.02 | 4.2 | yes |" in lines
    assert printed[-1] == "note: sst2: a note"
    assert (
        "4.20 million parameters (1.10 without embeddings), 16.8 MB, 300 million FLOPs a row"
        in printed[-2]
    )


def test_a_backend_that_failed_its_check_is_shown_but_never_the_fastest() -> None:
    failed = RESULT._replace(metrics=METRICS | {"export/int8/offered": 0.0})
    lines = [squeezed(line) for line in table.result_table(failed)]
    assert "| b1-text-t1 | 40.00 | 2.00 | 0.50 | 20.0 |" in lines
    assert "| b32-text-t2 | 200 | 5,000 | 6,000 | 25.0 |" in lines
    assert "| int8 | 69.80 | 0.20 | 0.30 | 0.02 | 4.2 | no |" in lines
    assert picture.picture_data(failed).setting == "torch/b1-text-t1"


def metrics_without(*prefixes: str) -> dict[str, float]:
    """METRICS without those of the prefixes."""
    return {name: value for name, value in METRICS.items() if not name.startswith(prefixes)}


def lines_with(**metrics: float) -> list[str]:
    """The closing table with some metrics changed; __ in a name stands for /."""
    changes = {name.replace("__", "/"): value for name, value in metrics.items()}
    return [
        squeezed(line) for line in table.result_table(RESULT._replace(metrics=METRICS | changes))
    ]


def test_timings_of_a_busy_machine_are_marked_in_the_table() -> None:
    for lines in lines_with(speed__busy_share=0.2), lines_with(teacher__speed__busy_share=0.2):
        columns = "busy machine | teacher | torch | int8 | times faster |"
        assert f"| ms a call (median), {columns}" in lines
        assert f"| rows a second, {columns}" in lines
        assert "| b32-text-t2 | 200 | 5,000 | 6,000 | about 30 |" in lines


def test_a_version_description_marks_ratios_of_a_busy_machine() -> None:
    assert ", 80.0 times faster than its teacher" in card.version_description(RESULT, "id")
    busy = RESULT._replace(metrics=METRICS | {"speed/busy_share": 0.2})
    assert ", about 80 times faster than its teacher" in card.version_description(busy, "id")


def test_the_caption_names_the_metrics_of_a_score() -> None:
    alone = {"quality/sst2/accuracy": 90.0, "quality/sst2/score": 90.0, "quality/sst2/ece": 0.1}
    assert table.score_caption(RESULT._replace(metrics=alone)) == "score: accuracy"
    several = alone | {"quality/sst2/macro_f1": 80.0, "quality/sst2/f1": 70.0}
    caption = table.score_caption(RESULT._replace(metrics=several))
    assert caption == "score: the mean of accuracy, macro_f1 and f1"
    other = Dataset("stsb", "made up", "0", 9, 0, 1, 9)
    two = RESULT._replace(
        metrics=several | {"quality/stsb/pearson": 1.0}, datasets=[*RESULT.datasets, other]
    )
    assert table.score_caption(two) == (
        "score of a task: the mean of its metrics (sst2: accuracy, macro_f1, f1; stsb: pearson)"
    )
    whole = two._replace(metrics=METRICS | two.metrics)
    assert table.score_caption(whole) in table.result_table(whole)


def test_retention_of_a_weak_teachers_score_has_a_note() -> None:
    changes = {"retention/sst2": 1191.0, "teacher/quality/sst2/score": 2.1}
    lines = table.result_table(RESULT._replace(metrics=METRICS | changes))
    assert lines[-1] == "note: sst2: kept 1,191 % says little: the teacher scores only 2.1"


def test_a_loss_that_rounds_to_zero_has_no_minus_sign() -> None:
    lines = lines_with(export__int8__loss_batches=-0.001)
    assert "| int8 | 69.80 | 0.00 | 0.30 | 0.02 | 4.2 | yes |" in lines


def test_a_run_without_a_baseline_has_no_column_for_it() -> None:
    alone = RESULT._replace(metrics=metrics_without("baseline/"))
    assert "hard labels" not in table.result_table(alone)[0]
    assert list(picture.picture_data(alone).scores) == ["teacher", "student"]


PARTLY = {
    name: value
    for name, value in METRICS.items()
    if not name.startswith("teacher/speed")
    and not name.endswith("/ratio")
    and not (name.startswith(("teacher/quality", "retention", "agreement")) and "sst2" not in name)
}
"""The metrics for an external teacher with known answers on one task's dev rows only."""


def test_unknown_teacher_scores_are_dashes_and_unknown_speed_has_no_column() -> None:
    lines = table.result_table(RESULT._replace(metrics=PARTLY))
    printed = [line.split()[1::2] for line in lines]
    assert printed[2] == ["sst2", "90.0", "85.0", "82.0", "94.4", "90.0"]
    assert printed[3] == ["rte", "-", "55.0", "54.0", "-", "-"]
    assert printed[4] == ["mean", "-", "70.0", "68.0", "-", "-"]
    assert ["b1-text-t1", "2.00", "0.50"] in printed
    assert ["b32-text-t2", "5,000", "6,000"] in printed
    assert table.FASTER not in lines


def test_a_teacher_without_any_score_has_no_column_and_no_bars() -> None:
    metrics = {name: value for name, value in PARTLY.items() if not name.startswith("teacher/")}
    result = RESULT._replace(metrics=metrics)
    assert squeezed(table.result_table(result)[0]) == "| score on dev | student | hard labels |"
    assert list(picture.picture_data(result).scores) == ["student", "hard labels"]


def test_scores_before_finetuning_have_a_column_with_a_dash_for_a_new_task() -> None:
    metrics = metrics_without("teacher/", "baseline/") | {"before/quality/sst2/score": 80.0}
    printed = table.result_table(RESULT._replace(metrics=metrics, teacher=""))
    assert squeezed(printed[0]) == "| score on dev | before | student |"
    cells = [line.split()[3:-1:2] for line in printed[2:5]]
    assert cells == [["80.0", "85.0"], ["-", "55.0"], ["-", "70.0"]]


def test_the_chart_leaves_out_unknown_values_of_a_teacher() -> None:
    shown = picture.picture_data(RESULT._replace(metrics=PARTLY))
    assert shown.scores["teacher"][0] == 90.0
    assert all(math.isnan(score) for score in shown.scores["teacher"][1:])
    assert shown.latency_ms == {"student": 0.5, "hard labels": 0.5}
    _, axes = picture.draw(shown).axes
    assert [text.get_text() for text in axes.texts] == ["student 70.0", "hard labels 68.0"]


def test_the_chart_info_has_scores_by_task_and_latency_by_role() -> None:
    assert picture.picture_data(RESULT) == picture.PictureData(
        ["sst2", "rte", "mean"],
        {"teacher": [90.0, 60.0, 75.0], "student": [85.0, 55.0, 70.0],
         "hard labels": [82.0, 54.0, 68.0]},
        {"teacher": 40.0, "student": 0.5, "hard labels": 0.5}, "int8/b1-text-t1", "bilstm",
    )  # fmt: skip


def test_the_chart_has_a_log_axis_for_latency() -> None:
    bars, axes = picture.draw(picture.picture_data(RESULT)).axes
    assert axes.get_xscale() == "log"
    assert len(bars.patches) == 9


@pytest.mark.parametrize("number", [1, 9, 30])
def test_no_text_of_the_chart_is_covered_or_cut(number: int) -> None:
    tasks = [f"task_{place}{'_with_a_long_name' * (place % 4 == 1)}" for place in range(number)]
    scores = {"teacher": 80.0, "student": 79.7, "hard labels": 79.6}
    shown = picture.PictureData(
        [*tasks, "mean"],
        {role: [score] * (number + 1) for role, score in scores.items()},
        {"teacher": 0.73, "student": 0.7, "hard labels": 0.7},
        "int8/b1-text-t1",
        "bilstm",
    )
    figure = picture.draw(shown)
    assert faults(figure) == []
    assert len(figure.axes[1].texts) == len(scores), "all are named"
