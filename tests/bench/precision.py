"""Measures what a teacher loses if it computes its logits in bfloat16 instead of float32.

    python tests/bench/precision.py --config experiments/configs/glue.yaml --data.path GLUE \\
        --teacher.checkpoint ENCODER

The teacher of these settings is refined first, if the cache does not have it. For some dev rows of
each task the table has the largest and the mean difference of a logit, divided by the standard
deviation of the logits; the number of rows whose most probable class changes; Spearman's
correlation of the rows ordered by their first logit (minus the second, if there is one); and the
score in each precision. The last line is JSON.
"""

import json
import sys

import numpy as np
import torch
from scipy.stats import spearmanr

from analysis.presentation.table import markdown
from experiments import cli
from experiments.settings import TeacherSettings
from mkd.evaluation.scoring import predict_logits, torch_infer
from mkd.pipeline import set_up_device
from mkd.result import no_report
from mkd.tasks.metrics import score
from mkd.tasks.sources import load_tasks
from mkd.teachers import primary_tokenizer
from mkd.teachers.refined import load_or_refine
from mkd.tokenization.tokenise import tokenise_tasks
from mkd.tokenization.tokens import TaskData

ROWS = 150
"""Number of dev rows of a task. Without hardware support, bfloat16 is many times slower."""


def main(command: TeacherSettings) -> None:
    """Prints the table and the JSON."""
    config = command.core()
    device, stores = set_up_device(config), config.stores
    tasks = load_tasks(config.data)
    tokenizer = primary_tokenizer(config.teacher, stores.root, tasks)
    tokenised = tokenise_tasks(stores, tasks, tokenizer, device, "teacher", no_report)
    teacher = load_or_refine(config.teacher, stores, tokenised, config.checkpoint_seconds)
    functions = {name: torch_infer(teacher.model, name) for name in ("float32", "bfloat16")}
    results = {}
    for data in tokenised.datas:
        rows = np.arange(min(ROWS, len(data.dev[""].labels)))
        logits = {
            name: predict_logits(infer, data.dev[""], rows, data.name, teacher.layout)
            for name, infer in functions.items()
        }
        results[data.name] = compared(data, logits["float32"], logits["bfloat16"])
    header = [
        "task", "rows", "largest / sd", "mean / sd", "other class", "rank correlation", "float32",
        "bfloat16",
    ]  # fmt: skip
    body = [
        [name, f"{t['rows']:.0f}", f"{t['largest']:.4f}", f"{t['mean']:.4f}",
         f"{t['other_class']:.0f}", f"{t['rank']:.6f}", f"{t['float32']:.2f}",
         f"{t['bfloat16']:.2f}"]
        for name, t in results.items()
    ]  # fmt: skip
    print("\n".join(markdown([header, *body])))
    print(json.dumps({"threads": torch.get_num_threads(), "tasks": results}))


def compared(data: TaskData, exact_RC: np.ndarray, half_RC: np.ndarray) -> dict[str, float]:
    """Returns the differences between the logits of a task's dev rows."""
    labels, sd = data.dev[""].labels[: len(exact_RC)], float(exact_RC.std())
    order = [
        logits[:, 0] - (logits[:, 1] if logits.shape[1] > 1 else 0)
        for logits in (exact_RC, half_RC)
    ]
    difference = np.abs(exact_RC - half_RC)
    scores = [score(data.kind, logits, labels) for logits in (exact_RC, half_RC)]
    return {
        "rows": float(len(labels)),
        "largest": float(difference.max()) / sd,
        "mean": float(difference.mean()) / sd,
        "other_class": float((exact_RC.argmax(1) != half_RC.argmax(1)).sum()),
        "rank": float(spearmanr(*order).statistic),
        "float32": sum(scores[0].values()) / len(scores[0]),
        "bfloat16": sum(scores[1].values()) / len(scores[1]),
    }


if __name__ == "__main__":
    sys.exit(cli.entry(main, __doc__ or "", TeacherSettings))
