"""Submissions of a small random student, from test files in GLUE's layout."""

import csv
import json
import re
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.settings import SubmitSettings
from experiments.tracking.table import submission_info, submission_table
from mkd.config import DataConfig, StudentConfig, SubmitConfig
from mkd.evaluation.scoring import runtime_student
from mkd.runs.submission import Submission, prepare_submit, run_submit
from mkd.storage.pretrained import load_tokenizer
from mkd.student_result import save_model
from mkd.students import STUDENTS, Student, load_model, make_student
from mkd.tasks.task import GLUE
from mkd.tokenization.tokens import TaskData
from tests.support.entry import client, command, outcome
from tests.support.official import NUM, OFFICIAL, Official, lines_of, make_folder
from tests.support.tiny import MINILM, Tokenizer

WRITTEN = {
    "cola": {"unacceptable": "0", "acceptable": "1"},
    "sst2": {"negative": "0", "positive": "1"},
    "mrpc": {"not_equivalent": "0", "equivalent": "1"},
    "qqp": {"not_duplicate": "0", "duplicate": "1"},
    "wnli": {"not_entailment": "0", "entailment": "1"},
}
"""Labels that the official files write as numbers; other tasks write the label's name."""


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("glue"))


def made_student(folder: Path, changes: dict[str, Any], kind: str = "bilstm") -> Path:
    """A random student with confident answers. changes: other heads by task; None removes a
    head."""
    torch.manual_seed(0)
    tokenizer = load_tokenizer(MINILM, "tokenizer")
    config = StudentConfig(kind=kind, hidden=8, embedding=8, attention=False)  # type: ignore[arg-type]
    nothing = np.empty(0)
    default_heads = {
        n: (tuple(reversed(k.labels)) if n in ("mnli", "rte", "cola") else k.labels, k.pair)
        for n, k in GLUE.items()
    }
    heads = {name: head for name, head in (default_heads | changes).items() if head is not None}
    kinds = {
        name: replace(GLUE[name], labels=labels, pair=pair)
        for name, (labels, pair) in heads.items()
    }
    datas = [TaskData(n, k, None, {}, nothing, nothing, 2.7, 1.5) for n, k in kinds.items()]  # type: ignore[arg-type]
    student: Student = make_student(config, datas, len(tokenizer), 64, None)
    for parameter in student.parameters():
        parameter.data *= 8
    save_model(student, tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student; some of its heads have their labels in another order than GLUE."""
    return made_student(tmp_path_factory.mktemp("student"), {})


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def config_of(cache: Path, glue: Path, student: Path, **more: Any) -> SubmitSettings:
    data = DataConfig(source="glue", path=str(glue))
    return SubmitSettings(
        device="cpu", cache=str(cache), data=data, submit=SubmitConfig(student=str(student), **more)
    )


def submitted(config: SubmitSettings, folder: Path) -> Submission:
    prepared = prepare_submit(config.core(), config.submit, Path(config.submit.student))
    return run_submit(prepared, config.submit, folder)


def files_of(path: Path) -> dict[str, list[list[str]]]:
    with zipfile.ZipFile(path) as archive:
        return {
            n: [line.split("\t") for line in archive.read(n).decode().splitlines()]
            for n in archive.namelist()
        }


@cache
def loaded(student: Path) -> tuple[Student, Tokenizer]:
    return load_model(student), load_tokenizer(student, "tokenizer")


def expected(
    folder: Path, student: Path, official: Official, path: Path | None = None
) -> list[str]:
    """The expected answers, from reading the file with csv and asking the student directly."""
    with (path or folder / official.path).open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    model, tokenizer = loaded(student)
    texts = [[row[name] for row in rows] for name in official.text]
    answers = runtime_student(model, tokenizer).predict(
        list(zip(*texts, strict=True)) if len(texts) == 2 else texts[0], official.task
    )
    if official.task == "stsb":
        return [f"{min(5.0, max(0.0, score)):.3f}" for _, score, *_ in answers]
    labels = [each.label or "" for each in answers]
    return [WRITTEN.get(official.task, {}).get(label, label) for label in labels]


@pytest.fixture(scope="module")
def submission(
    stores: Path, glue: Path, student: Path, tmp_path_factory: pytest.TempPathFactory
) -> Submission:
    return submitted(config_of(stores, glue, student), tmp_path_factory.mktemp("out"))


def test_the_zip_answers_every_row(submission: Submission, glue: Path, student: Path) -> None:
    files = files_of(submission.zip)
    assert list(files) == list(OFFICIAL)
    varied = 0
    for name, official in OFFICIAL.items():
        (header, *body), answers = files[name], expected(glue, student, official)
        assert header == ["index", "prediction"]
        assert [index for index, _ in body] == [str(i) for i in range(NUM)]
        assert [answer for _, answer in body] == answers, name
        varied += len(set(answers)) > 1
    assert varied > 6, "a student that always says the same would prove little"


def test_scores_stay_within_their_range(submission: Submission) -> None:
    scores = [float(score) for _, score in files_of(submission.zip)["STS-B.tsv"][1:]]
    assert min(scores) == 0 and max(scores) == 5


def test_reported_shares_match_the_files(submission: Submission) -> None:
    files = files_of(submission.zip)
    for asked, filled, shares in submission.files:
        answers = [answer for _, answer in files[asked.file][1:]]
        if asked.task == "stsb":
            answers = [str(round(float(answer))) for answer in answers]
        assert shares == pytest.approx({answer: answers.count(answer) / NUM for answer in answers})
        assert not filled and asked.rows == NUM


def test_a_file_of_unofficial_size_has_a_note(submission: Submission, glue: Path) -> None:
    assert len(submission.notes) == 11
    assert f"{glue / 'QQP/test.tsv'} has 24 rows; GLUE's own has 390,965" in submission.notes


def test_a_second_submission_is_identical_and_computes_nothing_again(
    submission: Submission, stores: Path, glue: Path, student: Path, tmp_path: Path
) -> None:
    logits = set((stores / "logits").iterdir())
    reports: list[dict[str, float]] = []
    config = config_of(stores, glue, student)
    prepared = prepare_submit(config.core(), config.submit, student)
    again = run_submit(
        prepared, config.submit, tmp_path, lambda step, metrics: reports.append(metrics)
    )
    assert again.zip.read_bytes() == submission.zip.read_bytes()
    assert set((stores / "logits").iterdir()) == logits
    assert len({path.stem for path in logits}) == 11
    assert [path.name for path in tmp_path.iterdir()] == ["submission.zip"]
    assert reports[-1] == {"progress/test answers": 1.0}
    shares = [
        metrics["progress/test tokens"] for metrics in reports if "progress/test tokens" in metrics
    ]
    assert shares == sorted(shares) and shares[-1] == 1.0


@pytest.mark.parametrize("kind", [kind for kind in STUDENTS if kind != "bilstm"])
def test_every_kind_answers_quotes_and_empty_texts(kind: str, glue: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "glue")
    (folder / "QQP/test.tsv").write_text(
        'id\tquestion1\tquestion2\n0\t"Why?\t\n1\t\t\n2\tWhat "is" it\tWhat\n'
    )
    (folder / "AX").mkdir()
    (folder / "diagnostic/diagnostic.tsv").rename(folder / "AX/AX.tsv")
    student = made_student(tmp_path / "student", {}, kind)
    files = files_of(submitted(config_of(tmp_path / "cache", folder, student), tmp_path).zip)
    assert [answer for _, answer in files["QQP.tsv"][1:]] == expected(
        folder, student, OFFICIAL["QQP.tsv"]
    )
    ax = expected(folder, student, OFFICIAL["AX.tsv"], folder / "AX/AX.tsv")
    assert [answer for _, answer in files["AX.tsv"][1:]] == ax


def test_all_missing_files_and_heads_are_named_at_once(glue: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "glue")
    for name in ("RTE/test.tsv", "diagnostic/diagnostic.tsv"):
        (folder / name).unlink()
    student = made_student(tmp_path / "student", {"qqp": None, "mnli": None})
    with pytest.raises(ValueError) as caught:
        submitted(config_of(tmp_path, folder, student), tmp_path)
    assert str(caught.value) == (
        f"data.path is {str(folder)!r}: there is no RTE/test.tsv, diagnostic/diagnostic.tsv "
        "or AX/AX.tsv; allowed: all of them; "
        f"and submit.student is {str(student)!r}: it has no head for qqp, mnli; "
        "allowed: one for each task, or submit.fill=true"
    )
    message = r"^data.path is '.*': there is no RTE/test.tsv, [^;]*; allowed: all of them$"
    with pytest.raises(ValueError, match=message):
        submitted(config_of(tmp_path, folder, student, fill=True), tmp_path)


def test_a_missing_head_is_filled_on_request_and_reported(
    glue: Path, stores: Path, submission: Submission, tmp_path: Path
) -> None:
    student = made_student(tmp_path / "student", {"cola": None, "stsb": None, "mnli": None})
    result = submitted(config_of(stores, glue, student, fill=True), tmp_path)
    files = files_of(result.zip)
    train = {
        name: lines_of(glue / name / "train.tsv", 1 + 3 * NUM) for name in ("CoLA", "STS-B", "MNLI")
    }
    acceptable = [line.split("\t")[1] for line in train["CoLA"]].count("1")
    nli = [line.split("\t")[-1] for line in train["MNLI"][1:]]
    most = max(sorted(set(nli)), key=nli.count)
    mean = np.mean([float(line.split("\t")[-1]) for line in train["STS-B"][1:]])
    constants = {"CoLA": "1" if acceptable > 36 else "0", "STS-B": f"{mean:.3f}"}
    constants |= dict.fromkeys(("MNLI-m", "MNLI-mm", "AX"), most)
    for name, answer in constants.items():
        assert [cells[1] for cells in files[f"{name}.tsv"][1:]] == [answer] * NUM
    assert {asked.file for asked, filled, _ in result.files if filled} == {
        f"{name}.tsv" for name in constants
    }
    assert result.notes[1].startswith(
        "stsb: the student has no head for it, so that every row has the answer"
    )
    lines = "\n".join(submission_table(result))
    assert len(re.findall(r"one answer for all", lines)) == 5 and f"{most} 100.0 %" in lines
    expected = [name[:-4] in constants for name in OFFICIAL]
    assert [file["filled"] for file in submission_info(result)["files"]] == expected


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ((("yes", "no"), True),
         "its head for rte takes 2 texts and has the labels 'yes', 'no'; allowed: 2, and "),
        ((GLUE["mnli"].labels, True),
         "its head for rte takes 2 texts and has the labels 'entailment', 'neutral', "),
        ((GLUE["rte"].labels, False),
         "its head for rte takes 1 texts and has the labels 'entailment', 'not_entailment'; "),
    ],
)  # fmt: skip
def test_a_head_that_does_not_match_the_glue_task_is_refused(
    head: tuple[Any, bool], message: str, glue: Path, stores: Path, tmp_path: Path
) -> None:
    student = made_student(tmp_path / "student", {"rte": head})
    with pytest.raises(
        ValueError, match=re.escape(f"submit.student is {str(student)!r}: {message}")
    ):
        submitted(config_of(stores, glue, student), tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "MRPC/test.tsv",
            "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\ta\tb\n1\t1\t2\ta\n",
            ":3: 4 columns; allowed: 5",
        ),
        (
            "WNLI/test.tsv",
            "index\tsentence1\n0\ta\n",
            ":1: no column 'sentence2'; there are: 'index', 'sentence1'",
        ),
        ("RTE/test.tsv", "index\tsentence1\tsentence2\n", ": no rows; allowed: one or more"),
    ],
)
def test_a_wrong_test_file_is_refused_with_its_line(
    name: str, text: str, message: str, student: Path, stores: Path, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "glue")
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(f"{folder / name}{message}")):
        submitted(config_of(stores, folder, student), tmp_path)
    assert not (tmp_path / "submission.zip").exists()


def test_other_data_or_no_student_is_refused(student: Path, glue: Path, tmp_path: Path) -> None:
    config = config_of(tmp_path, glue, student)
    with pytest.raises(ValueError, match="data.source is 'demo'; allowed: 'glue'"):
        submitted(replace(config, data=DataConfig()), tmp_path)
    with pytest.raises(ValueError, match=r"data.tasks is \['rte'\]; allowed: empty"):
        submitted(replace(config, data=replace(config.data, tasks=["rte"])), tmp_path)
    message = "submit.student is '.*nowhere'; allowed: a folder that holds a distilled student"
    with pytest.raises(ValueError, match=message):
        submitted(config_of(tmp_path, glue, tmp_path / "nowhere"), tmp_path)
    unset_message = "submit.student is ''; allowed: a folder that holds a distilled student"
    with pytest.raises(ValueError, match=unset_message):
        submitted(replace(config, submit=SubmitConfig()), tmp_path)


def test_answers_that_are_not_finite_are_refused(glue: Path, student: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(student), load_tokenizer(student, "tokenizer")
    for parameter in model.heads.linears[model.heads.names.index("sst2")].parameters():
        parameter.data.fill_(torch.finfo(torch.float32).max)
    save_model(model, tokenizer, tmp_path / "student")
    message = r"submit.student is '.*': its logits for .*SST-2/test.tsv are not all finite numbers"
    with pytest.raises(ValueError, match=message):
        submitted(config_of(tmp_path, glue, tmp_path / "student"), tmp_path)


def test_the_command_logs_zip_and_table_in_a_run(
    glue: Path, student: Path, submission: Submission, tmp_path: Path
) -> None:
    settings = (
        "--submit.student", str(student), "--data.source=glue", "--data.path", str(glue),
        "--device=cpu",
    )  # fmt: skip
    result = outcome(command(tmp_path, "submit", *settings))
    run = client(tmp_path).get_run(result["run_id"])
    assert run.info.status == "FINISHED" and run.info.run_name == f"submit {student.name}"
    assert (run.data.tags["mkd.kind"], run.data.tags["mkd.tasks"]) == ("submit", "glue")
    assert "GLUE's own has 390,965" in run.data.tags["mlflow.note.content"]
    names = ("submission.zip", "table.md", "submission.json")
    zipped, lines, info = (
        Path(client(tmp_path).download_artifacts(result["run_id"], name, str(tmp_path)))
        for name in names
    )
    assert zipped.read_bytes() == submission.zip.read_bytes()
    assert lines.read_text().splitlines() == submission_table(submission)
    content = json.loads(info.read_text())
    assert content == submission_info(submission) == {key: result[key] for key in content}
