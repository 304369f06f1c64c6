"""The model card of a student or teacher, in Markdown."""

from analysis.presentation.table import markdown
from experiments.tracking import table
from mkd import names
from mkd.evaluation.speed import HEADLINE_SETTING, is_busy, ratio_text
from mkd.export.backends import latency_ms
from mkd.result import Dataset, Result, timed_backends


def model_card(seed: int, max_length: int, result: Result, run: str) -> str:
    """Returns the model card. Every score and speed in it is a metric of the run.

    seed: of the run.
    max_length: tokens that the model reads of a row.
    run: the run's id.
    """
    metrics = result.metrics
    name = result.student or result.teacher
    sections = [
        f"# {name}",
        "\n".join(_summary(seed, result, run)),
        "## How good",
        "Scores on the dev split, in points from 0 to 100; each task's is the mean of its metrics.",
        "\n".join(table.score_table(result)),
        "## How fast and how large",
        f"On {result.hardware['cpu']}: the median call, and rows a second of calls of many; "
        "`b32` is 32 rows at once, `text` raw "
        "texts of the dev splits, tokenized within the time, "
        "`l128` as many tokens without tokenizing, `t1` one thread.",
        "\n".join(table.speed_tables(metrics)),
        "## Data",
        "\n".join(_data(result.datasets)),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(max_length, result)),
    ]
    return "\n\n".join(sections) + "\n"


def version_description(result: Result, run: str) -> str:
    """Returns the card in one line, for the description of a registered model version."""
    metrics = result.metrics
    scores = [
        f"{d.task} {metrics[key]:.1f}"
        for d in result.datasets
        if (key := names.quality(d.task)) in metrics
    ]
    mean = [f"mean {metrics[names.QUALITY_MEAN]:.1f}"] if names.QUALITY_MEAN in metrics else []
    phrases = [
        result.student or result.teacher,
        f"dev: {', '.join(mean + scores)}",
        _speed_phrase(metrics),
        *([f"teacher {result.teacher}"] if result.teacher and result.student else []),
        "data: "
        + ", ".join(f"{d.task} ({d.train_rows:,} rows, {d.fingerprint})" for d in result.datasets),
        f"run {run}",
    ]
    return "; ".join(phrases)


def _summary(seed: int, result: Result, run: str) -> list[str]:
    one = [f"One model for {', '.join(data.task for data in result.datasets)}."]
    if result.student:
        of = (
            f"a teacher, {result.teacher} (key `{result.teacher_key}`)"
            if result.teacher
            else "labels alone"
        )
        one.append(f"It was trained on {of}.")
    return [
        *one,
        f"{_speed_phrase(result.metrics)}.",
        "",
        f"Run `{run}`, seed {seed}; its `config.yaml` repeats it.",
    ]


def _speed_phrase(metrics: dict[str, float]) -> str:
    """Returns the latency of the fastest backend for one text, as a phrase."""
    backends = timed_backends(metrics)
    if not backends:
        return "Its speed was not measured"
    best = min(backends, key=lambda name: latency_ms(metrics, name))
    ratio = metrics.get(names.speed(best, HEADLINE_SETTING.name, names.RATIO))
    busy = is_busy(metrics)
    faster = (
        ""
        if ratio is None
        else f", {ratio_text(ratio, busy)} times faster than its teacher in torch"
    )
    latency = f"{latency_ms(metrics, best):.2f} ms a text in {best} on one thread"
    return f"{latency} ({HEADLINE_SETTING.name}){faster}{', on a busy machine' if busy else ''}"


def _data(datasets: list[Dataset]) -> list[str]:
    rows = [["task", "training rows", "without label", "selection", "dev", "fingerprint", "source"]]
    for data in datasets:
        counts = [data.train_rows, data.unlabelled_rows, data.selection_rows, data.dev_rows]
        rows.append(
            [data.task, *(f"{count:,}" for count in counts), f"`{data.fingerprint}`", data.source]
        )
    return markdown(rows)


def _limits(max_length: int, result: Result) -> list[str]:
    limits = [
        f"It reads the first {max_length} tokens of a row, special tokens included; "
        "longer rows are truncated.",
        "It knows the language and the kind of text of its training rows; "
        "on others its scores are unknown.",
        "Its probabilities are those of a softmax: "
        f"see `{names.quality('<task>', names.CALIBRATION_ERROR)}` "
        "for their calibration error on dev.",
        "Its scores are of one seed. Its speed is that of the processor named above.",
    ]
    bag = result.student.startswith("bag")  # computed in float32, row by row
    if names.export("int8", names.BYTES) in result.metrics and not bag:
        limits.append(
            "In int8 an answer depends a little on the other texts of the same call, "
            "which share a range."
        )
    return limits + result.notes
