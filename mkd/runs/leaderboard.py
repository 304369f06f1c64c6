"""The zip for GLUE's leaderboard: its files, their format, and a check of both."""

import os
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mkd.storage.store import sync_to_disk
from mkd.tasks.sources import GLUE_FILES

HEADER = "index\tprediction"


class ZipEntry(NamedTuple):
    """One file of the zip.

    - `task`: the task whose head answers
    - `places`: paths in GLUE's folder where its test file may be; the first that exists is read
    - `rows`: number of rows of GLUE's own test file
    """

    task: str
    places: tuple[str, ...]
    rows: int


ZIP_ENTRIES: dict[str, ZipEntry] = {
    "CoLA.tsv": ZipEntry("cola", ("CoLA/test.tsv",), 1063),
    "SST-2.tsv": ZipEntry("sst2", ("SST-2/test.tsv",), 1821),
    "MRPC.tsv": ZipEntry("mrpc", ("MRPC/test.tsv",), 1725),
    "STS-B.tsv": ZipEntry("stsb", ("STS-B/test.tsv",), 1379),
    "QQP.tsv": ZipEntry("qqp", ("QQP/test.tsv",), 390_965),
    "MNLI-m.tsv": ZipEntry("mnli", ("MNLI/test_matched.tsv",), 9796),
    "MNLI-mm.tsv": ZipEntry("mnli", ("MNLI/test_mismatched.tsv",), 9847),
    "QNLI.tsv": ZipEntry("qnli", ("QNLI/test.tsv",), 5463),
    "RTE.tsv": ZipEntry("rte", ("RTE/test.tsv",), 3000),
    "WNLI.tsv": ZipEntry("wnli", ("WNLI/test.tsv",), 146),
    # GLUE's download script writes the first one; on GLUE's server it is called AX.tsv.
    "AX.tsv": ZipEntry("mnli", ("diagnostic/diagnostic.tsv", "AX/AX.tsv"), 1104),
}
"""All files of the zip by their required names (Wang et al. 2019; gluebenchmark.com/faq)."""

AnswerShares = dict[str, float]
"""Share of the rows by answer, from 0 to 1; scores are rounded to whole numbers."""


def write_zip(
    path: Path, answers: dict[str, np.ndarray], rows: dict[str, int]
) -> dict[str, AnswerShares]:
    """Writes the zip and returns the shares of each file.

    The zip appears at `path` only after it has passed its check. Equal answers give equal bytes.
    `answers` are arrays [R] by file, with labels and scores as GLUE writes them. `rows` are the
    numbers of rows of the test files.
    """
    aside = path.with_suffix(".aside")
    with zipfile.ZipFile(aside, "w") as archive:
        for file in ZIP_ENTRIES:
            about = zipfile.ZipInfo(file)  # dated 1980, so that equal answers give equal bytes
            about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            lines = (f"{index}\t{answer}\n" for index, answer in enumerate(answers[file].tolist()))
            archive.writestr(about, "".join([f"{HEADER}\n", *lines]))
    sync_to_disk(aside)
    shares = check_zip(aside, rows)
    os.replace(aside, path)
    return shares


def check_zip(path: Path, rows: dict[str, int]) -> dict[str, AnswerShares]:
    """Asserts that a zip has the leaderboard's format, and returns the shares of each file."""
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == list(ZIP_ENTRIES), f"{path} holds {archive.namelist()}"
        return {
            file: _shares(file, archive.read(file).decode(), rows[file]) for file in ZIP_ENTRIES
        }


def _shares(file: str, text: str, rows: int) -> AnswerShares:
    header, *lines, end = text.split("\n")
    assert (header, end) == (HEADER, ""), f"{file} begins with {header!r} and ends with {end!r}"
    assert len(lines) == rows, f"{file} has {len(lines)} rows, the test file {rows}"
    counts: Counter[str] = Counter()
    for index, line in enumerate(lines):
        number, _, answer = line.partition("\t")
        assert number == str(index), f"{file}: row {index} is numbered {number!r}"
        assert _allowed(ZIP_ENTRIES[file].task, answer), (
            f"{file}: row {index} is answered with {answer!r}"
        )
        counts[answer] += 1
    shares: AnswerShares = {}
    for answer, count in sorted(counts.items()):
        name = answer if GLUE_FILES[ZIP_ENTRIES[file].task].values else f"{float(answer):.0f}"
        shares[name] = shares.get(name, 0.0) + count / rows
    return shares


def _allowed(task: str, answer: str) -> bool:
    values = GLUE_FILES[task].values
    return answer in values if values else re.fullmatch(r"[0-4]\.\d{3}|5\.000", answer) is not None
