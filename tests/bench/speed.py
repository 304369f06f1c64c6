"""Checks that a student is measured equally fast in a search, in a run and when it is promoted.

    python tests/bench/speed.py [--rounds 3] [--students transformer bilstm bag] \\
        [--backends torch onnx int8] [--folder FOLDER]

Each round starts the real commands one after another, for each student of the demo suite: a search
of one trial for each backend, which measures it anew, a distillation, and the promotion of the
trial. The table has the fastest of the rounds, because other work, also that of other guests of the
host, only makes a measurement slower; then the largest of the three divided by the least, of the
fastest and of the medians. The last line is JSON. The machine should have nothing else to do: the
share of the core that other work used is printed below the table.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import mlflow

from analysis.presentation.table import markdown
from mkd.config import SpeedConfig
from mkd.config.exports import USUAL_LENGTH
from mkd.evaluation.speed import one_thread_settings
from mkd.export.backends import statistic

ROOT = Path(__file__).resolve().parents[2]
STUDENTS: dict[str, dict[str, Any]] = {
    "transformer": {"student.hidden": 48},
    "bilstm": {"student.kind": "bilstm", "student.hidden": 32},
    "bag": {"student.kind": "bag", "student.hidden": 64, "student.ngrams": 1},
}
LITTLE: dict[str, Any] = {
    "threads": 1,
    "teacher.train.steps": 300,
    "train.steps": 400,
    "train.eval_every": 200,
    "speed.seconds": 20,
}
"""Settings of a short run: its scores do not matter."""
OF_A_RUN: dict[str, Any] = {"baseline": False, "export.max_loss": 100}
OF_A_SEARCH: dict[str, Any] = {"search.pruning.warmup": 1}
ROLES = ("trial", "run", "promoted")
Measurements = dict[tuple[str, str, str], dict[str, list[float]]]
"""By student, backend and setting: the measurements of each role, one for each round."""


def started(folder: Path, verb: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Runs a command in the folder and returns its JSON."""
    options = [
        f"--{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in settings.items()
    ]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
    }
    argv = [sys.executable, "-m", f"experiments.{verb}", "--json", *options]
    process = subprocess.run(
        argv, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    content: dict[str, Any] = json.loads(process.stdout.strip().splitlines()[-1])
    return content


def metrics_of(folder: Path, run: str) -> dict[str, float]:
    metrics: dict[str, float] = (
        mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").get_run(run).data.metrics
    )
    return metrics


def measured(
    folder: Path, student: str, backends: list[str], number: int
) -> dict[tuple[str, str], dict[str, float]]:
    """Returns the metrics of one round by role and backend. The trial of the last backend is
    promoted: all trials have the same student."""
    common: dict[str, Any] = LITTLE | STUDENTS[student]
    metrics: dict[tuple[str, str], dict[str, float]] = {}
    for backend in backends:
        shutil.rmtree(folder / ".mkd" / "costs", ignore_errors=True)
        study = f"{student}-{backend}-{number}"
        space = {"student.hidden": [common["student.hidden"]]}
        search_settings = (
            common
            | OF_A_SEARCH
            | {
                "search.study": study,
                "search.backend": backend,
                "search.trials": 1,
                "search.space": space,
            }
        )
        front = started(folder, "search", search_settings)["front"]
        metrics["trial", backend] = metrics_of(folder, front[0]["run"])
    of_run = started(folder, "distill", common | OF_A_RUN)["metrics"]
    promoted = started(
        folder, "promote", OF_A_RUN | {"threads": common["threads"], "promote.study": study}
    )
    of_promoted = metrics_of(folder, promoted["runs"]["0"])
    for backend in backends:
        metrics["run", backend], metrics["promoted", backend] = of_run, of_promoted
    return metrics


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--students", nargs="+", default=list(STUDENTS), choices=list(STUDENTS))
    parser.add_argument(
        "--backends",
        nargs="+",
        default=["torch", "onnx", "int8"],
        choices=["torch", "onnx", "int8"],
    )
    parser.add_argument(
        "--folder", help="folder to keep runs and stores in; none: they are removed"
    )
    args = parser.parse_args()
    times: Measurements = defaultdict(lambda: defaultdict(list))
    busy: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(args.rounds):
            for student in args.students:
                for (role, backend), metrics in measured(
                    folder, student, args.backends, number
                ).items():
                    busy[role].append(metrics["speed/busy_share"])
                    for setting in one_thread_settings(SpeedConfig(length=USUAL_LENGTH)):
                        key = f"speed/{backend}/{setting.name}/{statistic(setting.name)}"
                        times[student, backend, setting.name][role].append(metrics[key])
    rows = [["student", "backend", "setting", *ROLES, "largest / least", "of medians"]]
    ratios: dict[str, float] = {}
    for (student, backend, name), by_role in times.items():
        latency = statistic(name) == "p50_ms"
        fastest = [(min if latency else max)(by_role[role]) for role in ROLES]
        medians = [statistics.median(by_role[role]) for role in ROLES]
        ratios[f"{student}/{backend}/{name}"] = ratio = max(fastest) / min(fastest)
        rows.append(
            [
                student,
                backend,
                name,
                *(format(value, ".3f" if latency else ",.0f") for value in fastest),
                f"{ratio:.3f}",
                f"{max(medians) / min(medians):.3f}",
            ]
        )
    print("\n".join(markdown(rows)))
    print(
        "\nms a call of one row, rows a second of many; largest share of other work: ",
        end="",
    )
    print(", ".join(f"{role} {max(busy[role]):.3f}" for role in ROLES))
    result = {
        "largest": max(ratios.values()),
        "ratios": ratios,
        "busy": busy,
        "times": {"/".join(key): by_role for key, by_role in times.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
