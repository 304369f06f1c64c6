"""Tests hostile names of tasks, labels, studies, runs, experiments and folders.

    python -m tests.bench.hostile_names                # all of them; takes long
    python -m tests.bench.hostile_names --every 20     # one of twenty
    python -m tests.bench.hostile_names --places label setting

Each name is put into each place, in its own process (tests/support/forked.py). Either it works, or
it is refused in one line with the exit code 2 before anything is opened. Where it works, it is read
back unchanged, the report's page contains no tags from the name, its pictures are valid SVG, and no
file is written outside the folders that were given.
"""

import argparse
import csv
import json
import os
import shutil
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import torch
from mlflow.exceptions import MlflowException

from analysis import arguments
from analysis.presentation.table import markdown
from experiments import cli, distill, init
from experiments.settings import COMMANDS
from mkd import __main__ as runtime
from mkd.config import DataConfig, StudentConfig
from mkd.export.folder import export_bag
from mkd.students import make_student
from mkd.students.bag import BagStudent
from mkd.tasks.rows import normalise_label
from mkd.tasks.sources import load_tasks
from tests.bench.hostile_words import NAMES
from tests.support.entry import tiny
from tests.support.forked import Ending, ending
from tests.support.stored import Wish, logged, synthetic_run
from tests.support.tiny import make_datas, make_tasks, make_tokenizer

SECONDS = 60


class Case(NamedTuple):
    """A name and the place that it is put into."""

    place: str
    name: str


def run(case: Case, folder: Path) -> Ending:
    """Runs a case in a forked process, in a folder that it may write to."""
    exported()  # Before the fork: the export is made once for all cases.
    above = sorted(folder.parent.iterdir())
    result = ending(lambda: PLACES[case.place](case.name), folder, SECONDS)
    outside = set(folder.parent.iterdir()) - set(above)
    return Ending("outside", ", ".join(map(str, outside))) if outside else result


def in_setting(name: str) -> int:
    """Uses the name in settings: of a study, a registered model, its alias, a variant."""
    argv_of_commands = {
        "search": [f"--search.study={name}"],
        "promote": [f"--promote.study={name}"],
        "distill": [f"--registry.name={name}", "--registry.alias=a"],
        "finetune": ["--registry.name=a", f"--registry.alias={name}"],
        "ablation": [f"--ablation.variants={json.dumps({name: {}, 'other one': {}})}"],
    }
    codes = [
        cli.entry(lambda config: None, "", COMMANDS[command], argv)
        for command, argv in argv_of_commands.items()
    ]
    return max(codes)


def in_label(name: str) -> int:
    """Uses the name as a label in a file of rows, drafts a task file and reads it."""
    _write_rows(Path("rows.csv"), "label", name)
    if code := init.main(["rows.csv", "--text", "text", "--label", "label"]):
        Path("rows.csv").unlink()
        return code
    (task,) = load_tasks(DataConfig("files", "rows.yaml"))
    labels = [normalise_label(label) for label in task.kind.labels]
    assert not labels or normalise_label(name) in labels, f"{name!r} is not among {labels}"
    Path("rows.yaml").unlink()
    return 0


def in_column(name: str) -> int:
    """Uses the name for the column of the label."""
    _write_rows(Path("rows.csv"), name, "good")
    if code := init.main(["rows.csv", "--text", "text", f"--label={name}"]):
        Path("rows.csv").unlink()
        return code
    (task,) = load_tasks(DataConfig("files", "rows.yaml"))
    assert sorted(task.kind.labels) == ["good", "other"]
    return 0


def in_folder(name: str) -> int:
    """Uses the name for the folder of an exported student and for the file that it labels."""
    try:
        if _is_file_name(name):
            shutil.copytree(exported(), name)
            _write_rows(Path(f"{name}.csv"), "label", "good")
    except OSError:  # the name with its ending is too long
        pass
    before = sorted(Path().rglob("*"))
    argv = ["--task=single", "--text=text", f"--input={name}.csv", "--", name]
    code = runtime.main(argv)
    assert sorted(Path().rglob("*")) == before, "answering writes no files"
    if code and _is_file_name(name):
        shutil.rmtree(name, ignore_errors=True)
        with suppress(OSError):
            Path(f"{name}.csv").unlink()
    return code


def in_task(name: str) -> int:
    """Uses the name for a task in a whole run and its report."""
    _write_rows(Path("rows.csv"), "label", "good")
    described = {"train": "rows.csv", "text": "text", "label": "label", "labels": ["good", "other"]}
    Path("tasks.yaml").write_text(json.dumps({name: described}), "utf-8")
    argv = [word for word in tiny("distill") if "demo" not in word]
    argv += ["--data.path=tasks.yaml", "--baseline=false", "--student.kind=bag"]
    job: Any = distill.distill
    if code := cli.entry(job, "", COMMANDS["distill"], argv):
        Path("rows.csv").unlink()
        Path("tasks.yaml").unlink()
        return code
    return _report("mkd", Path("out"))


def in_report(name: str) -> int:
    """Uses the name for experiment, runs, teacher, machine, and the folder of the report."""
    client = mlflow.MlflowClient()
    artifacts = Path("artifacts").resolve().as_uri()
    try:
        number = client.create_experiment(name, artifact_location=artifacts)
        for seed in (0, 1):
            tags = {"mkd.teacher": name, "mkd.hardware.cpu": name, "mkd.student": name}
            wish = Wish(StudentConfig(), seed, tags=tags)
            logged(client, number, synthetic_run(wish)._replace(name=name))
    except (MlflowException, UnicodeError, ValueError):
        return _report(name, Path("out"))  # it has to report that there is no such experiment
    code = _report(name, Path("out", name) if _is_file_name(name) else Path("out"))
    if code == 0:
        (outcome,) = Path("out").rglob("report.json")
        assert json.loads(outcome.read_text("utf-8"))["experiment"] == name
    return code


PLACES: dict[str, Callable[[str], int]] = {
    "setting": in_setting, "label": in_label, "column": in_column, "folder": in_folder,
    "task": in_task, "report": in_report,
}  # fmt: skip


def _is_file_name(name: str) -> bool:
    """Returns whether the name is that of a file within a folder."""
    try:
        size = len(os.fsencode(name))
    except UnicodeError:
        return False
    return name not in ("", ".", "..") and not set(name) & set("/\0") and size < 256


def _write_rows(file: Path, column: str, label: str) -> None:
    # surrogatepass writes half a surrogate pair as it is, as invalid UTF-8.
    with file.open("w", encoding="utf-8", errors="surrogatepass", newline="") as rows:
        write = csv.writer(rows).writerow
        write(["text", column])
        for number in range(24):
            good = number % 2 == 0
            write([f"{'good' if good else 'bad'} film {number}", label if good else "other"])


@cache
def exported() -> Path:
    """Returns the folder of a tiny exported student, which is outside the folders of the cases."""
    folder = Path(tempfile.mkdtemp(prefix="mkd-exported-"))
    torch.manual_seed(0)
    tasks = make_tasks(names=["single"])
    tokenizer = make_tokenizer(folder / "cache", tasks)
    config = StudentConfig(kind="bag", hidden=8, embedding=6, ngrams=2, buckets=50)
    datas = make_datas(folder / "cache", tasks, tokenizer)
    student = make_student(config, datas, len(tokenizer), 32, None)
    assert isinstance(student, BagStudent)
    student.train(False)
    export_bag(student, tokenizer, folder / "int8")
    return folder / "int8"


class _Page(HTMLParser):
    """Collects the tags of a page and the attributes that run code."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.running: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.running += [
            f"{name}={value}"
            for name, value in attrs
            if name.startswith("on") or (value or "").strip().lower().startswith("javascript:")
        ]


def _report(experiment: str, folder: Path) -> int:
    """Makes a report, and checks its page and pictures."""
    if code := arguments.main("", [f"--experiment={experiment}", f"--to={folder}"]):
        return code
    read = _Page()
    read.feed((folder / "report.html").read_text("utf-8"))
    read.close()
    assert read.tags["script"] == 2 and not read.running, read.running
    assert not read.tags.keys() & {"img", "iframe", "object", "embed", "base", "b"}, read.tags
    pictures = list(folder.glob("pictures/*.svg"))
    assert pictures
    for picture in pictures:
        for element in ET.parse(picture).iter():
            kind = element.tag.rpartition("}")[2]
            assert kind not in ("script", "foreignObject", "a"), kind
            address = element.get("{http://www.w3.org/1999/xlink}href", "#")
            assert address.startswith(("#", "data:image/png")), address
    return 0


def main() -> None:
    """Runs the cases; prints each fault, and counts by place and ending."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1, help="run only every N-th name")
    parser.add_argument("--places", nargs="+", choices=list(PLACES), default=list(PLACES))
    args = parser.parse_args()
    endings: Counter[tuple[str, str]] = Counter()
    for place in args.places:
        for name in NAMES[:: args.every]:
            above = Path(tempfile.mkdtemp())
            (above / "case").mkdir()
            result = run(Case(place, name), above / "case")
            shutil.rmtree(above, ignore_errors=True)
            endings[place, result.kind] += 1
            if not result.good:
                print(json.dumps([place, name[:60], *result])[:600], flush=True)
    kinds = sorted({kind for _, kind in endings})
    rows = [[place, *(str(endings[place, kind]) for kind in kinds)] for place in args.places]
    print("\n".join(markdown([["place", *kinds], *rows])))


if __name__ == "__main__":
    main()
