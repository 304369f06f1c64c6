"""The sentence below a run's table claims only what the numbers support."""

import pytest

from experiments.tracking import conclusions
from mkd.result import Dataset, Result


def result(
    student: float = 74.0,
    teacher: float | None = 77.0,
    rows: int = 10_000,
    ratio: float | None = 10.1,
    int8: float | None = 0.02,
    tasks: tuple[str, ...] = ("a", "b"),
    **more: float,
) -> Result:
    """A distillation's result; student and teacher differ on 8 % of each task's rows."""
    metrics = {"quality/mean": student, "speed/torch/b1-text-t1/p50_ms": 0.35}
    if teacher is not None:
        metrics |= {"teacher/quality/mean": teacher, "retention/mean": 100 * student / teacher}
        metrics |= {f"agreement/{task}": 92.0 for task in tasks}
    if ratio is not None:
        metrics["speed/torch/b1-text-t1/ratio"] = ratio
    if int8 is not None:
        metrics |= {"export/int8/loss_batches": int8, "export/int8/offered": 1.0}
    datasets = [Dataset(task, "made up", "0", 100, 0, 10, rows) for task in tasks]
    metrics |= {name.replace("__", "/"): value for name, value in more.items()}
    name = "" if teacher is None else "bert-4x160"
    return Result(metrics, datasets, [], {}, "bag-64", name, "", "")


def test_the_sentence_of_a_plain_run() -> None:
    assert conclusions.of_training(result()) == (
        "The student keeps 96 % of the teacher's score (74.0 against 77.0 points, one seed) at "
        "1/10 of its time; int8 costs nothing."
    )


def test_a_difference_within_the_sampling_error_is_not_claimed() -> None:
    """2 * sqrt(0.08 / 100) * 100 points is 5.66 for a task, and 4.0 for the mean of two."""
    few = result(rows=100)
    assert conclusions.chance_difference(few.metrics, few.datasets) == pytest.approx(4.0)
    assert conclusions.of_training(few).startswith(
        "The student scores as its teacher does as far as the dev rows can tell (74.0 against 77.0 "
        "points; below 4.0 may be chance) at 1/10"
    )
    assert "as far as" not in conclusions.of_training(result(student=72.9, rows=100))


@pytest.mark.parametrize(
    ("run_result", "words"),
    [
        (result(student=79.0), "scores above its teacher (79.0 against 77.0 points, one seed) at"),
        (
            result(teacher=None, ratio=None),
            "scores 74.0 points, the mean over 2 tasks, trained on labels alone; it takes 0.35 ms "
            "a text; int8 costs nothing.",
        ),
        (result(teacher=None, tasks=("a",)), "scores 74.0 points on a, trained on"),
        (result(student=76.8, rows=10**6), "keeps 99.7 % of the"),
        (result(ratio=2.66, int8=None), "one seed) at 1/2.7 of its time."),
        (result(ratio=1.04), ") in the same time;"),
        (result(ratio=0.5), "), but takes 2.0 times as long;"),
        (result(int8=0.34), "; int8 costs 0.3 points."),
        (result(export__int8__offered=0.0), "; int8 failed its check."),
        (result(speed__busy_share=0.5), "; the times are of a busy machine."),
        (result(speed__busy_share=0.5), " at about 1/10 of its time;"),
        (result(speed__busy_share=0.5, ratio=1.4), " in about the same time;"),
        (result(speed__busy_share=0.5, ratio=0.3), ", but takes about 3 times as long;"),
        (
            result()._replace(notes=["a: 9 rows", "b: WEAK STUDENT: it scores 3.0 on dev"]),
            "; WEAK STUDENT: hardly better than one answer for all rows on b.",
        ),
    ],
)
def test_the_sentence_names_further_findings(run_result: Result, words: str) -> None:
    assert words in conclusions.of_training(run_result)


def test_unmeasured_speed_is_reported_as_such() -> None:
    run_result = result(ratio=None)
    del run_result.metrics["speed/torch/b1-text-t1/p50_ms"]
    assert "one seed); speed was not measured; int8" in conclusions.of_training(run_result)
    assert conclusions.headline(run_result.metrics) == {
        "mean_score": 74.0,
        "kept_percent": pytest.approx(100 * 74 / 77),
    }


def test_the_sentence_of_a_teacher_alone() -> None:
    run_result = result(teacher=None)._replace(student="", teacher="bert-4x160")
    assert conclusions.of_training(run_result) == (
        "The teacher scores 74.0 points, the mean over 2 tasks; it takes 0.35 ms a text; int8 "
        "costs nothing."
    )


def test_the_headline_uses_the_fastest_offered_backend() -> None:
    metrics = {
        "quality/mean": 74.0, "size/bytes": 4e6,
        "speed/torch/b1-text-t1/p50_ms": 0.4, "speed/torch/b1-text-t1/ratio": 2.0,
        "speed/onnx/b1-text-t1/p50_ms": 0.2, "speed/onnx/b1-text-t1/ratio": 4.0,
        "speed/int8/b1-text-t1/p50_ms": 0.1, "speed/int8/b1-text-t1/ratio": 8.0,
        "export/onnx/bytes": 3e6, "export/onnx/offered": 1.0,
        "export/int8/bytes": 1e6, "export/int8/offered": 0.0,
    }  # fmt: skip
    assert conclusions.headline(metrics) == {
        "mean_score": 74.0,
        "ms": 0.2,
        "times_faster": 4.0,
        "MB": 3.0,
    }
