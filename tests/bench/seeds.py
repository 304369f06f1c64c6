"""Students of several seeds on one teacher, distilled and on labels alone.

With pretrain.steps, the distilled student is trained on text before; a third variant is distilled
without that.

    PYTHONPATH=. python tests/bench/seeds.py --seeds 0 1 2 \\
        --config experiments/configs/bag.yaml --data.source files --data.path TASKS.yaml ...

Settings of a distillation go by their dotted names. A seed decides a student's weights, batches and
dropout; teacher, tokens and selection split are those of the config's own seed. So the tables show
how much of a difference is the students' luck. Differences are paired by seed, with t intervals.
The last table shows what thresholds of two classes gain. The last line printed is JSON.
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
from mkd.evaluation.answers import answers_of
from mkd.evaluation.intervals import half_width, interval_text
from mkd.evaluation.scoring import dev_logits, quality_metrics, torch_infer
from mkd.pipeline import DataAndTeacher, distil, load_data_and_teacher
from mkd.students import Student
from mkd.teachers.multitask import soft_targets
from mkd.tokenization.tokens import layout_of

DISTILLED, ALONE, WITHOUT_TEXT = "distilled", "labels alone", "distilled without text"
Scores = dict[str, float]


def student_of(inputs: DataAndTeacher, seed: int, variant: str) -> Student:
    """Trains one student of a variant."""
    data = inputs.data
    pretraining = data.config.pretrain if variant == DISTILLED else PretrainConfig()
    config = replace(data.config, seed=seed, pretrain=pretraining)
    targets = None
    if variant == ALONE:
        alone = replace(config.loss, hard_weight=1.0, hard_weight_end=None, match=MatchConfig())
        config = replace(config, loss=alone)
    else:
        root = config.stores.root
        targets = soft_targets(
            config.loss, root, data.student_data, inputs.teacher, lambda step, metrics: None
        )
    with tempfile.TemporaryDirectory() as folder:
        return distil(
            config,
            inputs,
            targets,
            lambda step, metrics: None,
            Path(folder) / "student.safetensors",
        )


def scores_of(inputs: DataAndTeacher, student: Student) -> tuple[Scores, Scores]:
    """Returns the score of each task on dev, and their mean; the same without thresholds."""
    data = inputs.data.student_data
    layout = layout_of(data.tokenizer, student.joined, student.config.max_tokens)
    answers = answers_of(student, dev_logits(torch_infer(student), data.datas, layout))
    with_thresholds, without = (
        {task.name: found[names.quality(task.name)] for task in data.datas}
        | {"mean": found[names.QUALITY_MEAN]}
        for found in (
            quality_metrics(data.datas, *answers),
            quality_metrics(data.datas, answers.logits),
        )
    )
    return with_thresholds, without


def table(ours: tuple[str, list[Scores]], theirs: tuple[str, list[Scores]]) -> str:
    """The mean over seeds of two variants, and their difference with its interval."""
    rows = [["score on dev", ours[0], theirs[0], "difference", "95 % interval"]]
    for task in ours[1][0]:
        values = [[scores[task] for scores in found] for _, found in (ours, theirs)]
        differences = [one - other for one, other in zip(*values, strict=True)]
        middle = statistics.mean(differences)
        rows.append(
            [task, *(f"{statistics.mean(own):.1f}" for own in values), f"{middle:+.2f}",
             interval_text(middle, half_width(differences))]
        )  # fmt: skip
    return "\n".join(markdown(rows)) + "\n"


def main(config: Config, seeds: list[int], others: list[str]) -> None:
    """Trains all students and prints the tables. others: variants beside the distilled one."""
    inputs = load_data_and_teacher(config)
    variants = [DISTILLED, *others]
    found: dict[str, list[Scores]] = {variant: [] for variant in variants}
    without: dict[str, list[Scores]] = {variant: [] for variant in variants}
    for seed in seeds:
        for variant in variants:
            scores, plain = scores_of(inputs, student_of(inputs, seed, variant))
            found[variant].append(scores)
            without[variant].append(plain)
            print(seed, variant, scores, file=sys.stderr)
    for other in variants[1:]:
        print(table((DISTILLED, found[DISTILLED]), (other, found[other])))
    print(table((DISTILLED, found[DISTILLED]), ("without thresholds", without[DISTILLED])))
    print(json.dumps({"scores": found, "without thresholds": without}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--others", nargs="+", choices=[ALONE, WITHOUT_TEXT], default=[ALONE], metavar="VARIANT"
    )
    given, rest = parser.parse_known_args()
    main(cli.parse(rest, "", DistillSettings).core(), given.seeds, given.others)
