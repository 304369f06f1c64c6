"""The conclusion of a run in one sentence, from its metrics."""

import math
from collections.abc import Mapping, Sequence

from mkd import names
from mkd.evaluation.remarks import WEAK_STUDENT
from mkd.evaluation.speed import HEADLINE_SETTING, is_busy
from mkd.export.backends import TORCH, latency_ms
from mkd.result import Dataset, Result, timed_backends
from mkd.runs.export import ExportedFolder
from mkd.runs.submission import Submission

LEAST_LOSS = 0.05
"""A backend that loses fewer points, which are shown as 0.0, loses nothing."""
ABOUT_EQUAL = 0.05
"""Maximum relative difference of two times that are called equal."""


def of_training(result: Result) -> str:
    """Returns the conclusion of a distillation, a fine-tuning or a teacher's refinement."""
    if not result.student:
        return _of_teacher(result)
    metrics = result.metrics
    weak = _weak(result.notes)
    return f"{_quality(result)}{_time(metrics)}{_int8(metrics)}{_remark(metrics)}{weak}."


def _weak(notes: Sequence[str]) -> str:
    """Returns the tasks with a weak student, as the end of a sentence. Empty: none."""
    tasks = [note.partition(WEAK_STUDENT)[0] for note in notes if WEAK_STUDENT in note]
    if not tasks:
        return ""
    return f"; WEAK STUDENT: hardly better than one answer for all rows on {', '.join(tasks)}"


def chance_difference(metrics: Mapping[str, float], datasets: Sequence[Dataset]) -> float:
    """Returns the largest difference of student and teacher, in points, that chance explains.

    It is twice the standard deviation of the difference of two accuracies, over samples of rows, at
    its upper bound sqrt(q / n) with q the share of the n rows where the two differ. For other
    metrics it is an estimate. Variation over seeds is not included.
    """
    shares = [
        (max(0.0, 1 - metrics[names.AGREEMENT + data.task] / 100), data.dev_rows)
        for data in datasets
        if names.AGREEMENT + data.task in metrics and data.dev_rows
    ]
    if not shares:
        return math.inf
    return 200 * math.sqrt(sum(share / rows for share, rows in shares)) / len(shares)


def times_faster(metrics: Mapping[str, float]) -> float | None:
    """Returns the speed of the fastest backend for one text as a multiple of the teacher's."""
    backends = timed_backends(dict(metrics))
    if not backends:
        return None
    best = min(backends, key=lambda name: latency_ms(dict(metrics), name))
    return metrics.get(names.speed(best, HEADLINE_SETTING.name, names.RATIO))


def best_ms(metrics: Mapping[str, float]) -> float | None:
    """Returns the median latency of the fastest backend for one text, in ms; None: not timed."""
    backends = timed_backends(dict(metrics))
    return min((latency_ms(dict(metrics), name) for name in backends), default=None)


def headline(metrics: Mapping[str, float]) -> dict[str, float]:
    """Returns the few metrics that a table of runs shows; those that are unknown are left out."""
    backends = timed_backends(dict(metrics))
    best = min(backends, key=lambda name: latency_ms(dict(metrics), name), default=TORCH)
    num_bytes = metrics.get(names.export(best, names.BYTES), metrics.get(names.SIZE_BYTES))
    values = {
        names.MEAN_SCORE: metrics.get(names.QUALITY_MEAN),
        names.KEPT_PERCENT: metrics.get(names.RETENTION_MEAN),
        names.MS: best_ms(metrics),
        names.TIMES_FASTER: times_faster(metrics),
        names.MEGABYTES: None if num_bytes is None else num_bytes / 1e6,
    }
    return {name: value for name, value in values.items() if value is not None}


def _quality(result: Result) -> str:
    """Returns how the student's score compares with the teacher's."""
    metrics = result.metrics
    student = metrics.get(names.QUALITY_MEAN)
    teacher = metrics.get(names.TEACHER + names.QUALITY_MEAN)
    if student is None:
        return "The student has no score on dev"
    if teacher is None:
        how = "its teacher has no score on dev" if result.teacher else "trained on labels alone"
        return f"The student scores {student:.1f} points{_over(result.datasets)}, {how}"
    margin = chance_difference(metrics, result.datasets)
    scores = f"{student:.1f} against {teacher:.1f} points"
    if abs(student - teacher) <= margin:
        return (
            f"The student scores as its teacher does as far as the dev rows can tell ({scores}; "
            f"below {margin:.1f} may be chance)"
        )
    if student > teacher:
        return f"The student scores above its teacher ({scores}, one seed)"
    kept = metrics.get(names.RETENTION_MEAN)
    if kept is None:
        return f"The student scores below its teacher ({scores}, one seed)"
    return f"The student keeps {_percent(kept)} of the teacher's score ({scores}, one seed)"


def _percent(kept: float) -> str:
    """Returns a share in percent, rounded down if 100 would be too high."""
    digits = 1 if 99 < kept < 100 else 0
    return f"{min(kept, 99.9) if kept < 100 else kept:.{digits}f} %"


def _over(datasets: Sequence[Dataset]) -> str:
    return (
        f" on {datasets[0].task}"
        if len(datasets) == 1
        else f", the mean over {len(datasets)} tasks"
    )


def _time(metrics: Mapping[str, float]) -> str:
    """Returns how the student's time for one text compares with the teacher's.

    It is the end of a sentence.
    """
    time, ratio = best_ms(metrics), times_faster(metrics)
    if time is None:
        return "; speed was not measured"
    if ratio is None:
        return f"; it takes {_ms(time)} a text"
    if is_busy(metrics):  # such a ratio is not precise
        return (
            f" at about 1/{ratio:.0f} of its time"
            if ratio >= 1.5
            else f", but takes about {1 / ratio:.0f} times as long"
            if ratio <= 1 / 1.5
            else " in about the same time"
        )
    if ratio > 1 + ABOUT_EQUAL:
        return (
            f" at 1/{ratio:.1f} of its time" if ratio < 9.95 else f" at 1/{ratio:.0f} of its time"
        )
    if ratio >= 1 - ABOUT_EQUAL:
        return " in the same time"
    return f", but takes {1 / ratio:.1f} times as long"


def _ms(time: float) -> str:
    return f"{time:.2g} ms" if time < 10 else f"{time:,.0f} ms"


def _int8(metrics: Mapping[str, float]) -> str:
    """Returns the loss of int8, as the end of a sentence. Empty: there is no int8."""
    losses = [
        metrics[name]
        for what in (names.LOSS, names.LOSS_BATCHES, names.LOSS_SINGLE_ROWS)
        if (name := names.export("int8", what)) in metrics
    ]
    if not losses:
        return ""
    if not metrics.get(names.export("int8", names.OFFERED), 1.0):
        return "; int8 failed its check"
    loss = max(losses)
    return "; int8 costs nothing" if loss < LEAST_LOSS else f"; int8 costs {loss:.1f} points"


def _remark(metrics: Mapping[str, float]) -> str:
    return "; the times are of a busy machine" if is_busy(metrics) else ""


def _of_teacher(result: Result) -> str:
    metrics = result.metrics
    score, time = metrics.get(names.QUALITY_MEAN), best_ms(metrics)
    quality = "has no score on dev" if score is None else f"scores {score:.1f} points"
    speed = "its speed was not measured" if time is None else f"it takes {_ms(time)} a text"
    over = "" if score is None else _over(result.datasets)
    return f"The teacher {quality}{over}; {speed}{_int8(metrics)}{_remark(metrics)}."


def of_export(export: ExportedFolder) -> str:
    """Returns a sentence on the backends of an export and their losses."""
    metrics = export.metrics
    if not export.backends:
        return "No backend passed its check."
    time = best_ms(metrics)
    speed = "" if time is None else f"; the fastest takes {_ms(time)} a text"
    return f"{' and '.join(export.backends)} passed the check{speed}{_int8(metrics)}."


def of_submission(submission: Submission) -> str:
    """Returns a sentence on how many files of a submission the student answered."""
    filled = sum(is_filled for _, is_filled, _ in submission.files)
    rest = f"; {filled} have one answer for all rows" if filled else ""
    return (
        f"The student answered {len(submission.files) - filled} of {len(submission.files)} files"
        f"{rest}."
    )


def of_labels(metrics: Mapping[str, float]) -> str:
    """Returns a sentence on how many rows of a corpus were labelled, and how fast."""
    rows, errors = metrics[names.LABEL_ROWS], metrics[names.LABEL_ERRORS]
    wrong = f", {errors:,.0f} of them with an error" if errors else ""
    were = "row was" if rows == 1 else "rows were"
    return f"{rows:,.0f} {were} read{wrong}, {metrics[names.LABEL_ROWS_PER_S]:,.0f} a second."
