"""Compares students with what users might pick instead: scores on dev, and milliseconds per text.

    PYTHONPATH=. python tests/bench/rivals.py TASKS.yaml --teacher FOLDER [--student NAME=DIR ...]

The rivals are TF-IDF (words and pairs of words) with logistic regression, TF-IDF (words and
characters) with a linear SVM, fastText, WordLlama with logistic regression, and model2vec,
distilled from the teacher's checkpoint with 256 dimensions, with the classifier that it trains.
They run in their own environment (--env), which is made at the first use; nothing else is
downloaded.

- Pairs. The features of TF-IDF are those of each text, their difference, product and cosine. Those
  of embeddings are u, v, |u - v|, u * v and the cosine, with a linear model on top. fastText reads
  both texts as one. Regression is ridge regression; fastText has none.
- Rows. Tasks are described as in mkd/tasks/task_file.py. Settings are chosen on the selection split
  of mkd/selection. Then the rivals are fitted on all training rows. An exception is model2vec's
  classifier, which needs the selection split to stop early. Scores are the project's metrics on
  dev.
- Seeds. fastText and model2vec's classifier are random: the tables have mean and standard deviation
  over --seeds, with the settings that the first seed chose. Students of one NAME are seeds of one
  student. The first seed of each is timed.
- Times. A call takes one raw text and returns the answer, on one thread. Each rival and student is
  a process, and only one of them works at a time. In each round each has a block of calls over the
  same dev rows, after a warm-up on training rows. The time is the median over the rounds of the
  median of a block. For each student its tokenizer is also timed alone. With --bert-base, a model
  of BERT-base's size with random weights is timed in ONNX Runtime, with the tokenizer of --teacher.

Fitted rivals are kept in --cache, so that other students can be compared with them later. The files
rivals.md and rivals.json are written to --out; the last line is JSON too.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from analysis.presentation.table import markdown
from mkd.config import DataConfig
from mkd.evaluation.speed import hardware
from mkd.evaluation.timing import TimedBlock, block_statistics
from mkd.export.folder import export_onnx
from mkd.runtime.hub import student_manifest
from mkd.selection.split import selection_split
from mkd.storage import pretrained
from mkd.storage.store import file_hash
from mkd.tasks.metrics import score
from mkd.tasks.sources import load_tasks
from mkd.tasks.task import Row, Split, Task
from tests.bench.inference import bert_base
from tests.bench.rivals_worker import VERSION

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("rivals_worker.py")
COMMON = ("numpy==2.4.6", "scikit-learn==1.9.1", "scipy==1.17.1")
PACKAGES: dict[str, tuple[str, ...]] = {
    "tfidf-lr": (),
    "tfidf-svm": (),
    "fasttext": ("fasttext-numpy2-wheel==0.9.2",),
    "wordllama-lr": ("wordllama==0.4.0.post1",),
    "model2vec": ("model2vec[distill,train]==0.10.0", "torch==2.13.0"),
}
"""The rivals, and the packages that each needs in addition to COMMON."""
ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "RAYON_NUM_THREADS",
    )
} | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
WARM_ROWS = 1000
"""Training rows that each block answers before it is timed, or fewer if they take longer than
WARM_SECONDS of tests/bench/rivals_worker.py."""
BERT_BASE = "BERT-base"
"""Name of a model of this size with random weights, in ONNX Runtime: it is only timed."""
TOKENIZER = "tokenizer of "
"""Prefix of a student's name for the times of its tokenizer alone."""


class Process:
    """A worker process, which answers requests (tests/bench/rivals_worker.py)."""

    def __init__(self, python: str | Path, log: Path) -> None:
        environment = os.environ | ONE_THREAD | {"PYTHONPATH": str(ROOT)}
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [str(python), str(WORKER)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.log = log

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker has ended; {self.log} says why")
        content: dict[str, Any] = json.loads(line)
        if "error" in content:
            raise SystemExit(content["error"])
        return content

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Fit(NamedTuple):
    """One rival or student on one task. By seed: its metrics, score, settings, and seconds to
    fit."""

    metrics: list[dict[str, float]]
    scores: list[float]
    choices: list[dict[str, Any]]
    seconds: list[float | None]


Fits = dict[str, dict[str, Fit]]
"""By task and contender: its fit."""
Times = dict[str, dict[str, list[TimedBlock]]]
"""By task and contender: its timed blocks."""


def python_of(env: Path, rivals: list[str]) -> Path:
    """Returns the Python of the rivals' environment, and installs their packages in it."""
    python, marker = env / "bin" / "python", env / "packages.json"
    wanted = sorted({*COMMON, *chain.from_iterable(PACKAGES[rival] for rival in rivals)})
    installed = set(json.loads(marker.read_text())) if marker.exists() else set()
    if not installed.issuperset(wanted):
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(env)], check=True)
        # All at once, so that pip chooses compatible versions.
        every = sorted(installed.union(wanted))
        install = [str(python), "-m", "pip", "install", "--quiet", *every]
        subprocess.run(install, check=True, stdout=sys.stderr)
        marker.write_text(json.dumps(every))
    return python


def limited(split: Split, rows: int) -> Split:
    """Returns a random sample of a split, in the order of the split."""
    every = list(split.read())
    chosen = sorted(Random(0).sample(range(len(every)), min(rows, len(every))))
    kept = [every[place] for place in chosen]
    return Split(lambda: iter(kept), f"{split.fingerprint}, {rows} rows", split.source)


def part_of(rows: list[Row]) -> dict[str, Any]:
    """Returns labelled rows in the format of the workers."""
    return {
        "texts": [row.text_a if row.text_b is None else [row.text_a, row.text_b] for row in rows],
        "labels": [row.label for row in rows],
    }


def rows_of(task: Task, config: DataConfig, cache: Path, num_to_time: int) -> dict[str, Any]:
    """Returns a task's rows: those to learn from, to select by, to score, and to time."""
    every = list(task.train.read())
    cut = selection_split(cache, task, config, 0)
    places: dict[str, Iterable[int]] = {
        "learn": cut.train_rows,
        "selection": cut.selection_rows,
        "rest": cut.left_out,
    }
    splits = {
        name: part_of([every[i] for i in chosen if every[i].label is not None])
        for name, chosen in places.items()
    } | {"dev": part_of(list(task.dev[""].read()))}
    texts = splits["dev"]["texts"]
    chosen = np.linspace(0, len(texts) - 1, min(num_to_time, len(texts))).astype(int)
    # The rows to time are evenly spread over all lengths, and shuffled.
    ordered = sorted(texts, key=lambda text: len("".join(text)))
    to_time = Random(0).sample([ordered[i] for i in chosen], len(chosen))
    learn = splits["learn"]["texts"]
    to_warm = Random(0).sample(learn, min(WARM_ROWS, len(learn)))
    kind = asdict(task.kind)
    return {"kind": kind, "parts": splits, "to_time": to_time, "to_warm": to_warm}


def is_random(rival: str, task: Task) -> bool:
    trained = not task.kind.pair and task.kind.labels != ()
    return rival == "fasttext" or (rival == "model2vec" and trained)


def folder_of(cache: Path, **depends_on: Any) -> Path:
    """Returns the folder of a cached result, keyed by all that it depends on."""
    identity = depends_on | {"version": VERSION}
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]
    folder = cache / "rivals" / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def static_model(args: argparse.Namespace, python: Path, log: Path) -> tuple[Path, str]:
    """Returns the folder of model2vec's static model, and its key."""
    if "model2vec" not in args.rivals:
        return Path(), ""
    key = file_hash(args.teacher / "model.safetensors")
    folder = folder_of(args.cache, distilled=key, packages=PACKAGES["model2vec"])
    if not (folder / "model.safetensors").exists():
        process = Process(python, log)
        process.ask(distill=str(args.teacher), folder=str(folder))
        process.close()
    return folder, key


def fitted(
    process: Process,
    task: Task,
    labels: np.ndarray,
    requests: Iterator[tuple[Path, dict[str, Any]]],
) -> Fit | None:
    """Returns the fit from a worker, one request per seed, or None if it cannot do the task."""
    fit = Fit([], [], [], [])
    for folder, request in requests:
        choice = fit.choices[0] if fit.choices else None
        about = process.ask(folder=str(folder), choice=choice, **request)
        if "cannot" in about:
            return None
        scores = score(task.kind, np.load(folder / "logits.npy"), labels)
        fit.metrics.append(scores)
        fit.scores.append(statistics.mean(scores.values()))
        fit.choices.append(about["choice"])
        fit.seconds.append(about["seconds"])
    return fit


def students_of(entries: list[str]) -> dict[str, list[Path]]:
    """Returns the exported folders of each student, by its name."""
    folders: dict[str, list[Path]] = {}
    for entry in entries:
        name, _, folder = entry.partition("=")
        folders.setdefault(name, []).append(Path(folder))
    return folders


def measured(
    task: Task, args: argparse.Namespace, python: Path, static: tuple[Path, str], work: Path
) -> tuple[dict[str, Fit], dict[str, list[TimedBlock]]]:
    """Fits all rivals on a task and scores the students, then times them in turn."""
    config = DataConfig(source="files", path=str(args.tasks))
    rows = rows_of(task, config, args.cache, args.texts)
    file = work / f"{task.name}.json"
    file.write_text(json.dumps(rows))
    digest = hashlib.sha256(json.dumps([rows["kind"], rows["parts"]]).encode()).hexdigest()
    labels = np.asarray(rows["parts"]["dev"]["labels"], dtype=np.float64)
    fits: dict[str, Fit] = {}
    with ExitStack() as opened:
        processes: dict[str, Process] = {}

        def fit_and_print(name: str, process: Process, requests: Any) -> None:
            fit = fitted(process, task, labels, requests)
            if fit is not None:
                fits[name], processes[name] = fit, process
                message = f"{task.name}, {name}: {score_text(fit.scores)}, {fit.choices[0]}"
                print(message, file=sys.stderr, flush=True)

        for rival in args.rivals:
            process = Process(python, args.out / "workers.log")
            opened.callback(process.close)
            identity: dict[str, Any] = {
                "rival": rival,
                "rows": digest,
                "packages": [COMMON, PACKAGES[rival]],
            }
            if rival == "model2vec":
                identity["static"] = static[1]
            seeds = range(args.seeds if is_random(rival, task) else 1)
            request = {"fit": rival, "rows": str(file), "static": str(static[0])}
            fit_and_print(
                rival,
                process,
                ((folder_of(args.cache, **identity, seed=s), request | {"seed": s}) for s in seeds),
            )
        if args.bert_base:
            process = Process(sys.executable, args.out / "workers.log")
            opened.callback(process.close)
            process.ask(load=str(work / BERT_BASE), rows=str(file), task=task.name)
            processes[BERT_BASE] = process
        for name, folders in students_of(args.student).items():
            process = Process(sys.executable, args.out / "workers.log")
            opened.callback(process.close)
            request = {"fit": name, "rows": str(file), "task": task.name}
            fit_and_print(name, process, ((work, request | {"student": str(f)}) for f in folders))
        return fits, timed(processes, args)


def timed(processes: dict[str, Process], args: argparse.Namespace) -> dict[str, list[TimedBlock]]:
    """Times the workers in turn, in rounds of one block each."""
    calls = {name: partial(process.ask, time="answer") for name, process in processes.items()}
    for name in [name for name in students_of(args.student) if name in processes]:
        calls[TOKENIZER + name] = partial(processes[name].ask, time="tokenizer")
    blocks: dict[str, list[TimedBlock]] = {name: [] for name in calls}
    for _ in range(args.rounds):
        for name, call in calls.items():
            reply = call()
            seconds = reply["seconds"]
            blocks[name].append(TimedBlock(seconds, len(seconds), reply["wall"], reply["thread"]))
    return blocks


def ms_of(blocks: list[TimedBlock]) -> float:
    return block_statistics(blocks, 1)["p50_ms"]


def waited(times: Times) -> float:
    """Returns the largest share of a contender's time on a task in which its thread did not run."""
    blocks = [of_contender for by_name in times.values() for of_contender in by_name.values()]
    return max(
        1 - sum(one.thread for one in of_contender) / sum(one.wall for one in of_contender)
        for of_contender in blocks
    )


def table(fits: Fits, cells: dict[str, dict[str, tuple[float, str]]], what: str) -> list[str]:
    """Returns a table: one row for each contender, one column for each task, and the mean."""
    names = dict.fromkeys(name for by_name in cells.values() for name in by_name)
    body = []
    for name in names:
        row = [by_name.get(name) for by_name in cells.values()]
        values = [cell[0] for cell in row if cell is not None]
        mean = cell_text(statistics.mean(values)) if len(values) == len(row) else "-"
        body.append([name, *("-" if cell is None else cell[1] for cell in row), mean])
    return [*markdown([[what, *fits, "mean"], *body]), ""]


def cell_text(value: float) -> str:
    """Formats a number with about three digits."""
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def score_text(scores: list[float]) -> str:
    spread = f" ± {statistics.stdev(scores):.1f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.1f}{spread}"


def lines_of(fits_of_tasks: Fits, times: Times, students: list[str]) -> list[str]:
    """Returns the tables of scores, times and seconds to fit, and the share of waiting."""
    scores = {
        task: {
            name: (statistics.mean(fit.scores), score_text(fit.scores))
            for name, fit in fits.items()
        }
        for task, fits in fits_of_tasks.items()
    }
    ms = {task: {name: ms_of(blocks) for name, blocks in by.items()} for task, by in times.items()}
    shown = {
        task: {name: (value, f"{value:.3f}") for name, value in by.items()}
        for task, by in ms.items()
    }
    factors = {
        task: {name: by[name] / by[TOKENIZER + name] for name in students if name in by}
        for task, by in ms.items()
    }
    seconds = {
        task: {
            name: (fit_seconds[0], f"{fit_seconds[0]:.0f}")
            for name, fit in fits.items()
            if (fit_seconds := [second for second in fit.seconds if second is not None])
        }
        for task, fits in fits_of_tasks.items()
    }
    return [
        *table(fits_of_tasks, scores, "score on dev"),
        *table(fits_of_tasks, shown, "ms a text, median"),
        *(
            table(
                fits_of_tasks,
                {task: {n: (v, f"{v:.2f}") for n, v in by.items()} for task, by in factors.items()},
                "times its tokenizer",
            )
            if students
            else []
        ),
        *table(fits_of_tasks, seconds, "seconds to choose and fit"),
        f"one thread; at most {100 * waited(times):.0f} % of a process's time went to other work",
    ]


def info(fits_of_tasks: Fits, times: Times) -> dict[str, Any]:
    """Returns all measurements in a form for JSON."""
    return {
        "hardware": hardware(),
        "waited": waited(times),
        "tasks": {
            task: {
                "contenders": {name: fit._asdict() for name, fit in fits.items()},
                "times": {
                    name: block_statistics(blocks, 1) for name, blocks in times[task].items()
                },
            }
            for task, fits in fits_of_tasks.items()
        },
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", type=Path, help="the YAML file of the tasks")
    parser.add_argument("--only", nargs="*", default=[], help="tasks to use; none: all")
    parser.add_argument("--rivals", nargs="*", default=list(PACKAGES), choices=list(PACKAGES))
    parser.add_argument("--teacher", type=Path, help="folder of the checkpoint, for model2vec")
    parser.add_argument(
        "--student",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=FOLDER",
        help="exported folders; those of one name are seeds",
    )
    parser.add_argument("--bert-base", action="store_true", help="also time a BERT-base")
    parser.add_argument("--env", type=Path, default=Path(".rivals"))
    parser.add_argument("--cache", type=Path, default=Path(".mkd"))
    parser.add_argument("--out", type=Path, default=Path("outputs/rivals"))
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds of the random rivals")
    parser.add_argument("--rows", type=int, default=0, help="most rows of a split; 0: all")
    parser.add_argument("--texts", type=int, default=300, help="number of dev rows to time")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if ("model2vec" in args.rivals or args.bert_base) and args.teacher is None:
        parser.error("--teacher is missing; model2vec and --bert-base need a checkpoint's folder")
    for entry in args.student:
        name, _, folder = entry.partition("=")
        if name in PACKAGES or not student_manifest(Path(folder)).exists():
            parser.error(f"--student is {entry!r}; allowed: NAME=FOLDER, a new name and an export")
    return args


def main() -> None:
    args = arguments()
    python = python_of(args.env.absolute(), args.rivals)
    args.out.mkdir(parents=True, exist_ok=True)
    tasks = load_tasks(DataConfig(source="files", path=str(args.tasks), tasks=args.only))
    fits: Fits = {}
    times: Times = {}
    with TemporaryDirectory(dir=args.out) as temporary:
        static = static_model(args, python, args.out / "workers.log")
        if args.bert_base:
            tokenizer = pretrained.load_tokenizer(args.teacher, "--teacher")
            export_onnx(bert_base(len(tokenizer), tasks), tokenizer, Path(temporary) / BERT_BASE)
        for task in tasks:
            if args.rows:
                small = {name: limited(split, args.rows) for name, split in task.dev.items()}
                task = replace(task, train=limited(task.train, args.rows), dev=small)
            fits[task.name], times[task.name] = measured(
                task, args, python, static, Path(temporary)
            )
            lines = lines_of(fits, times, list(students_of(args.student)))
            (args.out / "rivals.md").write_text("\n".join(lines) + "\n")
            (args.out / "rivals.json").write_text(json.dumps(info(fits, times)))
    print("\n".join(lines))
    print(json.dumps(info(fits, times)))


if __name__ == "__main__":
    main()
