"""What users would pick instead of a student, on the same rows: scores on dev, and ms a text.

    PYTHONPATH=. python tests/bench/rivals.py TASKS.yaml --teacher FOLDER [--student NAME=DIR ...]

The rivals are TF-IDF (words and pairs of words) with logistic regression, TF-IDF (words and
characters) with a linear SVM, fastText, WordLlama with logistic regression, and model2vec,
distilled from the teacher's checkpoint at 256 directions, with the classifier that it trains. They
run in an environment of their own (--env), made at the first use; nothing else is downloaded.

- Pairs. TF-IDF has both texts apart, their difference, product and cosine; embeddings are u, v,
  |u - v|, u * v and the cosine, with a linear model on top; fastText reads both texts as one.
  Regression is by ridge regression; fastText has none.
- Rows. Tasks are described as in mkd/tasks/task_file.py. Settings are chosen on the selection split
  of mkd/selection. Then all training rows are learnt from, except by model2vec's classifier, which
  needs the selection split to stop early. Scores are the project's own metrics on dev.
- Seeds. fastText and model2vec's classifier are random: mean and standard deviation over --seeds,
  with the settings that the first one chose.
  Students of one NAME are seeds of one student. The first seed of each is timed.
- Times. Raw text in, answer out, one row a call, one thread. Each rival and student is a process,
  and only one of them works at a time: in rounds, a block of calls each, over the same dev rows,
  after a warm-up on training rows. The median is that of a block, as the median over the rounds.
  Beside each student is its tokenizer alone. With --bert-base, a model of BERT-base's size with
  random weights is timed in ONNX Runtime, with the tokenizer of --teacher.

Fitted rivals are kept in --cache, so that other students can be compared with them later. OUT gets
rivals.md and rivals.json; the last line is JSON too.
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
"""The rivals, and what each needs beside COMMON."""
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
"""Training rows that each block answers before it is timed, or as many as WARM_SECONDS of
tests/bench/rivals_worker.py allow."""
BERT_BASE = "BERT-base"
"""A model of this size with random weights, in ONNX Runtime: it is timed alone."""
TOKENIZER = "tokenizer of "
"""Before a student's name: its tokenizer alone."""


class Process:
    """A worker: takes requests and answers them (tests/bench/rivals_worker.py)."""

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
    """One rival, or one student, on one task. By seed: its metrics, score, and seconds to make."""

    metrics: list[dict[str, float]]
    scores: list[float]
    choices: list[dict[str, Any]]
    seconds: list[float | None]


Found = dict[str, dict[str, Fit]]
"""By task and contender."""
Times = dict[str, dict[str, list[TimedBlock]]]
"""By task and contender."""


def python_of(env: Path, rivals: list[str]) -> Path:
    """Returns the Python of the rivals' environment, in which their packages are installed."""
    python, marker = env / "bin" / "python", env / "packages.json"
    wanted = sorted({*COMMON, *chain.from_iterable(PACKAGES[rival] for rival in rivals)})
    there = set(json.loads(marker.read_text())) if marker.exists() else set()
    if not there.issuperset(wanted):
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(env)], check=True)
        # All at once, so that pip chooses versions that go together.
        every = sorted(there.union(wanted))
        install = [str(python), "-m", "pip", "install", "--quiet", *every]
        subprocess.run(install, check=True, stdout=sys.stderr)
        marker.write_text(json.dumps(every))
    return python


def limited(split: Split, rows: int) -> Split:
    """Returns a random part of a split, in the order of the split."""
    every = list(split.read())
    chosen = sorted(Random(0).sample(range(len(every)), min(rows, len(every))))
    kept = [every[place] for place in chosen]
    return Split(lambda: iter(kept), f"{split.fingerprint}, {rows} rows", split.source)


def part_of(rows: list[Row]) -> dict[str, Any]:
    """Returns labelled rows as the workers read them."""
    return {
        "texts": [row.text_a if row.text_b is None else [row.text_a, row.text_b] for row in rows],
        "labels": [row.label for row in rows],
    }


def rows_of(task: Task, config: DataConfig, cache: Path, num_to_time: int) -> dict[str, Any]:
    """Returns a task's rows: those to learn from, to select by and to score, and those to time."""
    every = list(task.train.read())
    cut = selection_split(cache, task, config, 0)
    places: dict[str, Iterable[int]] = {
        "learn": cut.train_rows,
        "selection": cut.selection_rows,
        "rest": cut.left_out,
    }
    parts = {
        name: part_of([every[i] for i in chosen if every[i].label is not None])
        for name, chosen in places.items()
    } | {"dev": part_of(list(task.dev[""].read()))}
    texts = parts["dev"]["texts"]
    chosen = np.linspace(0, len(texts) - 1, min(num_to_time, len(texts))).astype(int)
    # Of all lengths, in no order.
    ordered = sorted(texts, key=lambda text: len("".join(text)))
    to_time = Random(0).sample([ordered[i] for i in chosen], len(chosen))
    learn = parts["learn"]["texts"]
    to_warm = Random(0).sample(learn, min(WARM_ROWS, len(learn)))
    kind = asdict(task.kind)
    return {"kind": kind, "parts": parts, "to_time": to_time, "to_warm": to_warm}


def is_random(rival: str, task: Task) -> bool:
    trained = not task.kind.pair and task.kind.labels != ()
    return rival == "fasttext" or (rival == "model2vec" and trained)


def folder_of(cache: Path, **depends_on: Any) -> Path:
    """Returns the folder of something made, keyed by all that it depends on."""
    parts = depends_on | {"version": VERSION}
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]
    folder = cache / "rivals" / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def static_model(given: argparse.Namespace, python: Path, log: Path) -> tuple[Path, str]:
    """Returns the folder of model2vec's static model, and a key of it."""
    if "model2vec" not in given.rivals:
        return Path(), ""
    key = file_hash(given.teacher / "model.safetensors")
    folder = folder_of(given.cache, distilled=key, packages=PACKAGES["model2vec"])
    if not (folder / "model.safetensors").exists():
        process = Process(python, log)
        process.ask(distill=str(given.teacher), folder=str(folder))
        process.close()
    return folder, key


def fitted(
    process: Process,
    task: Task,
    labels: np.ndarray,
    requests: Iterator[tuple[Path, dict[str, Any]]],
) -> Fit | None:
    """Returns what a worker makes of its requests, one a seed, or None if it cannot do the task."""
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
    found: dict[str, list[Path]] = {}
    for entry in entries:
        name, _, folder = entry.partition("=")
        found.setdefault(name, []).append(Path(folder))
    return found


def measured(
    task: Task, given: argparse.Namespace, python: Path, static: tuple[Path, str], work: Path
) -> tuple[dict[str, Fit], dict[str, list[TimedBlock]]]:
    """Fits all rivals on a task and scores the students, then times them in turn."""
    config = DataConfig(source="files", path=str(given.tasks))
    rows = rows_of(task, config, given.cache, given.texts)
    file = work / f"{task.name}.json"
    file.write_text(json.dumps(rows))
    digest = hashlib.sha256(json.dumps([rows["kind"], rows["parts"]]).encode()).hexdigest()
    labels = np.asarray(rows["parts"]["dev"]["labels"], dtype=np.float64)
    fits: dict[str, Fit] = {}
    with ExitStack() as opened:
        processes: dict[str, Process] = {}

        def tell(name: str, process: Process, requests: Any) -> None:
            fit = fitted(process, task, labels, requests)
            if fit is not None:
                fits[name], processes[name] = fit, process
                message = f"{task.name}, {name}: {score_text(fit.scores)}, {fit.choices[0]}"
                print(message, file=sys.stderr, flush=True)

        for rival in given.rivals:
            process = Process(python, given.out / "workers.log")
            opened.callback(process.close)
            own: dict[str, Any] = {
                "rival": rival,
                "rows": digest,
                "packages": [COMMON, PACKAGES[rival]],
            }
            if rival == "model2vec":
                own["static"] = static[1]
            seeds = range(given.seeds if is_random(rival, task) else 1)
            asked = {"fit": rival, "rows": str(file), "static": str(static[0])}
            tell(
                rival,
                process,
                ((folder_of(given.cache, **own, seed=s), asked | {"seed": s}) for s in seeds),
            )
        if given.bert_base:
            process = Process(sys.executable, given.out / "workers.log")
            opened.callback(process.close)
            process.ask(load=str(work / BERT_BASE), rows=str(file), task=task.name)
            processes[BERT_BASE] = process
        for name, folders in students_of(given.student).items():
            process = Process(sys.executable, given.out / "workers.log")
            opened.callback(process.close)
            asked = {"fit": name, "rows": str(file), "task": task.name}
            tell(name, process, ((work, asked | {"student": str(f)}) for f in folders))
        return fits, timed(processes, given)


def timed(processes: dict[str, Process], given: argparse.Namespace) -> dict[str, list[TimedBlock]]:
    """Times the workers in turn, in rounds of one block each."""
    calls = {name: partial(process.ask, time="answer") for name, process in processes.items()}
    for name in [name for name in students_of(given.student) if name in processes]:
        calls[TOKENIZER + name] = partial(processes[name].ask, time="tokenizer")
    found: dict[str, list[TimedBlock]] = {name: [] for name in calls}
    for _ in range(given.rounds):
        for name, call in calls.items():
            told = call()
            seconds = told["seconds"]
            found[name].append(TimedBlock(seconds, len(seconds), told["wall"], told["thread"]))
    return found


def ms_of(blocks: list[TimedBlock]) -> float:
    return block_statistics(blocks, 1)["p50_ms"]


def waited(times: Times) -> float:
    """Returns the largest share of a contender's time on a task in which its thread did not run."""
    blocks = [own for by_name in times.values() for own in by_name.values()]
    return max(1 - sum(one.thread for one in own) / sum(one.wall for one in own) for own in blocks)


def table(found: Found, cells: dict[str, dict[str, tuple[float, str]]], what: str) -> list[str]:
    """Returns a table: one row a contender, one column a task, and the mean over all tasks."""
    names = dict.fromkeys(name for by_name in cells.values() for name in by_name)
    body = []
    for name in names:
        own = [by_name.get(name) for by_name in cells.values()]
        values = [cell[0] for cell in own if cell is not None]
        mean = cell_text(statistics.mean(values)) if len(values) == len(own) else "-"
        body.append([name, *("-" if cell is None else cell[1] for cell in own), mean])
    return [*markdown([[what, *found, "mean"], *body]), ""]


def cell_text(value: float) -> str:
    """Three digits or so."""
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def score_text(scores: list[float]) -> str:
    spread = f" ± {statistics.stdev(scores):.1f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.1f}{spread}"


def lines_of(found: Found, times: Times, students: list[str]) -> list[str]:
    """Returns the tables of scores, times and seconds to make, and the share of waiting."""
    scores = {
        task: {
            name: (statistics.mean(fit.scores), score_text(fit.scores))
            for name, fit in fits.items()
        }
        for task, fits in found.items()
    }
    ms = {task: {name: ms_of(own) for name, own in by.items()} for task, by in times.items()}
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
            name: (own[0], f"{own[0]:.0f}")
            for name, fit in fits.items()
            if (own := [second for second in fit.seconds if second is not None])
        }
        for task, fits in found.items()
    }
    return [
        *table(found, scores, "score on dev"),
        *table(found, shown, "ms a text, median"),
        *(
            table(
                found,
                {task: {n: (v, f"{v:.2f}") for n, v in by.items()} for task, by in factors.items()},
                "times its tokenizer",
            )
            if students
            else []
        ),
        *table(found, seconds, "seconds to choose and fit"),
        f"one thread; at most {100 * waited(times):.0f} % of a process's time went to other work",
    ]


def info(found: Found, times: Times) -> dict[str, Any]:
    """Returns all that was measured, as JSON takes it."""
    return {
        "hardware": hardware(),
        "waited": waited(times),
        "tasks": {
            task: {
                "contenders": {name: fit._asdict() for name, fit in fits.items()},
                "times": {name: block_statistics(own, 1) for name, own in times[task].items()},
            }
            for task, fits in found.items()
        },
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", type=Path, help="the YAML file of the tasks")
    parser.add_argument("--only", nargs="*", default=[], help="of its tasks; none: all")
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
    parser.add_argument("--bert-base", action="store_true", help="time a model of its size too")
    parser.add_argument("--env", type=Path, default=Path(".rivals"))
    parser.add_argument("--cache", type=Path, default=Path(".mkd"))
    parser.add_argument("--out", type=Path, default=Path("outputs/rivals"))
    parser.add_argument("--seeds", type=int, default=3, help="of the rivals that are random")
    parser.add_argument("--rows", type=int, default=0, help="of a split at most; 0: all")
    parser.add_argument("--texts", type=int, default=300, help="dev rows to time")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if ("model2vec" in given.rivals or given.bert_base) and given.teacher is None:
        parser.error("--teacher is missing; model2vec and --bert-base need a checkpoint's folder")
    for entry in given.student:
        name, _, folder = entry.partition("=")
        if name in PACKAGES or not student_manifest(Path(folder)).exists():
            parser.error(f"--student is {entry!r}; allowed: NAME=FOLDER, a new name and an export")
    return given


def main() -> None:
    given = arguments()
    python = python_of(given.env.absolute(), given.rivals)
    given.out.mkdir(parents=True, exist_ok=True)
    tasks = load_tasks(DataConfig(source="files", path=str(given.tasks), tasks=given.only))
    found: Found = {}
    times: Times = {}
    with TemporaryDirectory(dir=given.out) as temporary:
        static = static_model(given, python, given.out / "workers.log")
        if given.bert_base:
            tokenizer = pretrained.load_tokenizer(given.teacher, "--teacher")
            export_onnx(bert_base(len(tokenizer), tasks), tokenizer, Path(temporary) / BERT_BASE)
        for task in tasks:
            if given.rows:
                small = {name: limited(split, given.rows) for name, split in task.dev.items()}
                task = replace(task, train=limited(task.train, given.rows), dev=small)
            found[task.name], times[task.name] = measured(
                task, given, python, static, Path(temporary)
            )
            lines = lines_of(found, times, list(students_of(given.student)))
            (given.out / "rivals.md").write_text("\n".join(lines) + "\n")
            (given.out / "rivals.json").write_text(json.dumps(info(found, times)))
    print("\n".join(lines))
    print(json.dumps(info(found, times)))


if __name__ == "__main__":
    main()
