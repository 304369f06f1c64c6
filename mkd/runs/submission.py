"""A student's answers to the test rows of GLUE's nine tasks and its diagnostic set, as a zip."""

import statistics
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from mkd import names
from mkd.config import Config, DataConfig, SubmitConfig
from mkd.pipeline import set_up_device
from mkd.result import Report, no_report
from mkd.runs import leaderboard
from mkd.runs.finetune import load_student
from mkd.runs.leaderboard import ZIP_ENTRIES, AnswerShares
from mkd.storage import pretrained
from mkd.storage.store import file_hash
from mkd.students import Student
from mkd.students.heads import on, thresholds_of
from mkd.tasks import files
from mkd.tasks.files import Table, listed
from mkd.tasks.metrics import NotFinite, decided
from mkd.tasks.origins import source_of
from mkd.tasks.rows import hash_values
from mkd.tasks.sources import GLUE_FILES, load_tasks
from mkd.tasks.task import GLUE, Row, Split
from mkd.teachers.task_teacher import TaskModel, cached_logits
from mkd.tokenization.tokenise import token_store
from mkd.tokenization.tokens import layout_of

SUBMISSION_ZIP = "submission.zip"
"""Name of the zip in the run's folder."""


class GlueTestFile(NamedTuple):
    """One file of the zip to be answered. `digest` is the test file's sha256."""

    file: str
    task: str
    table: Table
    rows: int
    digest: str


class AnsweredFile(NamedTuple):
    """One file of the zip. `filled` says that all rows have the same answer, for lack of a head."""

    asked: GlueTestFile
    filled: bool
    shares: AnswerShares


class Submission(NamedTuple):
    """A zip that has passed its check. `student` is the student's fingerprint."""

    zip: Path
    student: str
    files: list[AnsweredFile]
    notes: list[str]


class SubmissionData(NamedTuple):
    """What a submission needs, checked: the student, the test files, and constant answers.

    `root` is the folder of the cache, `origin` the folder of the student.
    """

    root: Path
    origin: Path
    student: Student
    tokenizer: PreTrainedTokenizerBase
    asked: list[GlueTestFile]
    constants: dict[str, str]


def prepare_submit(config: Config, submit: SubmitConfig, origin: Path) -> SubmissionData:
    """Loads and checks everything that `run_submit` needs, except the rows of the test files.

    Raises ValueError if a test file is missing, if a head is missing and submit.fill is false, or
    if a head does not fit GLUE's task.
    """
    device = set_up_device(config)
    _check_data(config.data)
    student, tokenizer = load_student(str(origin) if submit.student else "", "submit.student")
    _check_heads(submit.student, student)
    test_files = _test_files(config.data.path, submit, student)
    headless = [each.task for each in test_files if each.task not in student.config.tasks]
    constants = _constants(config.data, headless)
    return SubmissionData(
        Path(config.cache), origin, on(student, device), tokenizer, test_files, constants
    )


def run_submit(
    prepared: SubmissionData, submit: SubmitConfig, folder: Path, report: Report = no_report
) -> Submission:
    """Writes the answers of a student to a zip in `folder`.

    The logits are stored, so that a run that was stopped continues.

    Raises ValueError if a row has a wrong number of columns, or if a logit is not finite.
    """
    root, origin, student, tokenizer, test_files, constants = prepared
    with_head = [each for each in test_files if each.task in student.config.tasks]
    key = pretrained.checkpoint_fingerprint(origin)
    try:
        answers = _answers(root, key, student, tokenizer, with_head, report)
    except NotFinite as error:
        raise ValueError(f"submit.student is {submit.student!r}: {error}") from None
    answers |= {
        each.file: np.full(each.rows, constants[each.task])
        for each in test_files
        if each not in with_head
    }
    shares = leaderboard.write_zip(
        folder / SUBMISSION_ZIP, answers, {each.file: each.rows for each in test_files}
    )
    answered = [AnsweredFile(each, each not in with_head, shares[each.file]) for each in test_files]
    return Submission(folder / SUBMISSION_ZIP, key, answered, _notes(test_files, constants))


def _check_data(data: DataConfig) -> None:
    source = source_of(data)
    if source != "glue":
        raise ValueError(
            f"data.source is {source!r}; allowed: 'glue', with GLUE's test files in data.path"
        )
    if data.tasks and set(data.tasks) != set(GLUE):
        raise ValueError(
            f"data.tasks is {data.tasks!r}; allowed: empty, as the leaderboard takes all nine "
            "tasks at once"
        )


def _check_heads(named: str, student: Student) -> None:
    """Raises ValueError if a head with the name of a GLUE task has other labels or texts."""
    for name, kind in GLUE.items():
        head = student.config.tasks.get(name)
        if head and (sorted(head["labels"]) != sorted(kind.labels) or head["pair"] != kind.pair):
            raise ValueError(
                f"submit.student is {named!r}: its head for {name} takes {1 + head['pair']} texts "
                "and has the "
                f"labels {listed(head['labels'])}; allowed: {1 + kind.pair}, and "
                f"{listed(kind.labels)}"
            )


def _test_files(path: str, submit: SubmitConfig, student: Student) -> list[GlueTestFile]:
    """Returns the files to be answered.

    Raises ValueError with all test files and heads that are missing.
    """
    root = Path(path)
    paths = {
        file: [root / place for place in entry.places if (root / place).is_file()]
        for file, entry in ZIP_ENTRIES.items()
    }
    lacking = [" or ".join(ZIP_ENTRIES[file].places) for file, there in paths.items() if not there]
    headless = [name for name in GLUE if name not in student.config.tasks and not submit.fill]
    problems = []
    if lacking:
        problems.append(
            f"data.path is {path!r}: there is no {', '.join(lacking)}; allowed: all of them"
        )
    if headless:
        problems.append(
            f"submit.student is {submit.student!r}: it has no head for {', '.join(headless)}; "
            "allowed: one for each task, or submit.fill=true"
        )
    if problems:
        raise ValueError("; and ".join(problems))
    return [_test_file(file, ZIP_ENTRIES[file].task, there[0]) for file, there in paths.items()]


def _test_file(file: str, task: str, path: Path) -> GlueTestFile:
    table = Table(path, GLUE_FILES[task].test_text, None)
    files.check_table(table)
    with path.open("rb") as lines:
        rows = sum(1 for _ in lines) - 1  # without the header
    if rows == 0:
        raise ValueError(f"{path}: no rows; allowed: one or more")
    return GlueTestFile(file, task, table, rows, file_hash(path))


def _rows(table: Table) -> Iterator[Row]:
    """Yields every row, even with empty text: the leaderboard wants an answer per index."""
    for _, (text, *second) in files.read_table(table):
        yield Row(text, second[0] if second else None, None)


def _answers(
    root: Path,
    key: str,
    student: Student,
    tokenizer: PreTrainedTokenizerBase,
    test_files: list[GlueTestFile],
    report: Report,
) -> dict[str, np.ndarray]:
    """Returns the student's answers [R] by file, as GLUE writes them.

    All test files are read before any prediction, so that a faulty file is found early. `key` is
    the student's fingerprint, under which its logits are stored.
    """
    # Like the student's training: data.max_length of this command plays no part.
    length = student.config.max_tokens
    stores = []
    for index, test_file in enumerate(test_files):
        split = Split(
            partial(_rows, test_file.table),
            hash_values("asked", test_file.table[1:], test_file.digest),
            str(test_file.table.path),
        )
        progress = _total_progress(report, "test tokens", test_files, index)
        stores.append(token_store(root, split, GLUE[test_file.task], tokenizer, length, progress))
        progress(test_file.rows, {})
    layout = layout_of(tokenizer, student.joined, length)
    by = {"student": key, "layout": list(layout)}
    answers = {}
    for index, (test_file, store) in enumerate(zip(test_files, stores, strict=True)):
        reader = TaskModel(
            lambda: student, layout, "float32", test_file.task, GLUE[test_file.task].num_logits
        )
        progress = _total_progress(report, "test answers", test_files, index)
        try:
            logits_RC = cached_logits(root, by | {"task": test_file.task}, reader, store, progress)
        except NotFinite:
            raise NotFinite(
                f"its logits for {test_file.table.path} are not all finite numbers"
            ) from None
        progress(test_file.rows, {})
        answers[test_file.file] = _glue_answers(student, test_file.task, logits_RC)
    return answers


def _total_progress(
    report: Report, name: str, test_files: list[GlueTestFile], index: int
) -> Report:
    """Returns a Report that turns the rows of one file into the share of the rows of all files."""
    before, total = (
        sum(each.rows for each in test_files[:index]),
        sum(each.rows for each in test_files),
    )

    def scaled(step: int, metrics: dict[str, float]) -> None:
        report(before + step, {names.progress(name): (before + step) / total})

    return scaled


def _glue_answers(student: Student, task: str, logits_RC: np.ndarray) -> np.ndarray:
    """Returns answers [R] as GLUE writes them.

    A class is looked up by the name that the student's head gives it, since the head may have
    another order. A score is clipped to the task's range.
    """
    kind, head = GLUE[task], student.config.tasks[task]
    if kind.range is not None:
        scores_R = np.clip(logits_RC[:, 0].astype(float) * head["std"] + head["mean"], *kind.range)
        written_R: np.ndarray = np.char.mod("%.3f", scores_R)
        return written_R
    as_written = dict(zip(kind.labels, GLUE_FILES[task].values, strict=True))
    labels_C: np.ndarray = np.array([as_written[label] for label in head["labels"]])
    thresholds_C = thresholds_of(student.config).get(task)
    classes_R: np.ndarray = labels_C[decided(kind, logits_RC, thresholds_C).argmax(1)]
    return classes_R


def _constants(data: DataConfig, tasks: list[str]) -> dict[str, str]:
    """Returns the constant answer of each task, as GLUE writes it.

    It is the most frequent label of train.tsv, or the mean of its scores.
    """
    if not tasks:
        return {}
    constants = {}
    for task in load_tasks(replace(data, tasks=list(dict.fromkeys(tasks)), transfer=[])):
        labels = [row.label for row in task.train.read() if row.label is not None]
        values = GLUE_FILES[task.name].values
        constants[task.name] = (
            values[int(statistics.mode(labels))] if values else f"{statistics.fmean(labels):.3f}"
        )
    return constants


def _notes(test_files: list[GlueTestFile], constants: dict[str, str]) -> list[str]:
    """Returns notes on filled files and on test files that are not GLUE's own."""
    filled = [
        f"{task}: the student has no head for it, so that every row has the answer {answer}, "
        f"the {'most frequent label' if GLUE_FILES[task].values else 'mean score'} of train.tsv"
        for task, answer in constants.items()
    ]
    others = [
        f"{each.table.path} has {each.rows:,} rows; GLUE's own has {ZIP_ENTRIES[each.file].rows:,}"
        for each in test_files
        if each.rows != ZIP_ENTRIES[each.file].rows
    ]
    return filled + others
