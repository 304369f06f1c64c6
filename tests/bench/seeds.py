"""Students of several seeds on one teacher, distilled and on labels alone.

    PYTHONPATH=. python tests/bench/seeds.py --seeds 0 1 2 \\
        --config experiments/configs/bag.yaml --data.source files --data.path TASKS.yaml ...

Settings of a distillation go by their dotted names. A seed decides a student's weights, batches and
dropout; teacher, tokens and selection split are those of the config's own seed. So the table shows
how much of a difference is the students' luck. Differences are paired by seed, with t intervals.
The last line printed is JSON.
"""

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from analysis.presentation.table import markdown
from experiments import cli
from experiments.settings import DistillSettings
from mkd import names
from mkd.config import Config, MatchConfig, PretrainConfig
from mkd.evaluation.intervals import half_width, interval_text
from mkd.evaluation.scoring import dev_logits, quality_metrics, torch_infer
from mkd.pipeline import DataAndTeacher, distil, load_data_and_teacher
from mkd.students import Student
from mkd.teachers.multitask import soft_targets
from mkd.tokenization.tokens import layout_of

VARIANTS = ("distilled", "labels alone")
Scores = dict[str, float]


def student_of(inputs: DataAndTeacher, seed: int, variant: str) -> Student:
    """Trains one student of a variant."""
    data = inputs.data
    config = replace(data.config, seed=seed)
    targets = None
    if variant == "distilled":
        root = config.stores.root
        targets = soft_targets(
            config.loss, root, data.student_data, inputs.teacher, lambda step, metrics: None
        )
    else:
        alone = replace(config.loss, hard_weight=1.0, hard_weight_end=None, match=MatchConfig())
        config = replace(config, loss=alone, pretrain=PretrainConfig())
    with tempfile.TemporaryDirectory() as folder:
        return distil(
            config,
            inputs,
            targets,
            lambda step, metrics: None,
            Path(folder) / "student.safetensors",
        )


def scores_of(inputs: DataAndTeacher, student: Student) -> Scores:
    """Returns the score of each task on dev, and their mean."""
    data = inputs.data.student_data
    layout = layout_of(data.tokenizer, student.joined, student.config.max_tokens)
    found = quality_metrics(data.datas, dev_logits(torch_infer(student), data.datas, layout))
    scores = {task.name: found[names.quality(task.name)] for task in data.datas}
    return scores | {"mean": found[names.QUALITY_MEAN]}


def table(found: dict[str, list[Scores]]) -> list[str]:
    """The mean over seeds of each variant, and their difference with its interval."""
    rows = [["score on dev", *VARIANTS, "difference", "95 % interval"]]
    for task in found[VARIANTS[0]][0]:
        values = [[scores[task] for scores in found[variant]] for variant in VARIANTS]
        differences = [one - other for one, other in zip(*values, strict=True)]
        middle = statistics.mean(differences)
        rows.append(
            [task, *(f"{statistics.mean(own):.1f}" for own in values), f"{middle:+.2f}",
             interval_text(middle, half_width(differences))]
        )  # fmt: skip
    return markdown(rows)


def main(config: Config, seeds: list[int]) -> None:
    """Trains all students and prints the table."""
    inputs = load_data_and_teacher(config)
    found: dict[str, list[Scores]] = {variant: [] for variant in VARIANTS}
    for seed in seeds:
        for variant in VARIANTS:
            student = student_of(inputs, seed, variant)
            found[variant].append(scores_of(inputs, student))
            print(seed, variant, found[variant][-1], file=sys.stderr)
    print("\n".join(table(found)))
    print(json.dumps(found))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    given, rest = parser.parse_known_args()
    main(cli.parse(rest, "", DistillSettings).core(), given.seeds)
