"""What a teacher's answers lose in bfloat16: its logits on some dev rows in either precision, of
one model.

    python tests/bench/precision.py --config experiments/configs/glue.yaml --data.path GLUE \\
        --teacher.checkpoint ENCODER

The teacher of these settings is refined first, unless it has been before. By task: the largest and
the mean difference of a logit in shares of the logits' standard deviation, rows whose most probable
class changes, Spearman's correlation of the rows in the order of their first logit (less the
second's, where there is one), and the score in either. The last line printed is JSON.
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
"""The first so many dev rows of a task: where a processor has no units for bfloat16, it takes many
times as long."""


def main(command: TeacherSettings) -> None:
    """The table and the JSON."""
    config = command.core()
    device, stores = set_up_device(config), config.stores
    tasks = load_tasks(config.data)
    tokenizer = primary_tokenizer(config.teacher, stores.root, tasks)
    side = tokenise_tasks(stores, tasks, tokenizer, device, "teacher", no_report)
    teacher = load_or_refine(config.teacher, stores, side, config.checkpoint_seconds)
    both = {name: torch_infer(teacher.model, name) for name in ("float32", "bfloat16")}
    found = {}
    for data in side.datas:
        rows = np.arange(min(ROWS, len(data.dev[""].labels)))
        logits = {
            name: predict_logits(infer, data.dev[""], rows, data.name, teacher.layout)
            for name, infer in both.items()
        }
        found[data.name] = compared(data, logits["float32"], logits["bfloat16"])
    header = [
        "task", "rows", "largest / sd", "mean / sd", "other class", "rank correlation", "float32",
        "bfloat16",
    ]  # fmt: skip
    body = [
        [name, f"{t['rows']:.0f}", f"{t['largest']:.4f}", f"{t['mean']:.4f}",
         f"{t['other_class']:.0f}", f"{t['rank']:.6f}", f"{t['float32']:.2f}",
         f"{t['bfloat16']:.2f}"]
        for name, t in found.items()
    ]  # fmt: skip
    print("\n".join(markdown([header, *body])))
    print(json.dumps({"threads": torch.get_num_threads(), "tasks": found}))


def compared(data: TaskData, exact_RC: np.ndarray, half_RC: np.ndarray) -> dict[str, float]:
    """What differs between the logits of a task's dev rows."""
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
