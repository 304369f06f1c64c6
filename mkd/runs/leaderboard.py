"""The zip for GLUE's leaderboard: its files, their format, and a check of both."""

import os
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mkd.storage.store import to_disk
from mkd.tasks.sources import LAYOUTS

HEADER = "index\tprediction"


class Entry(NamedTuple):
    """One file of the zip.

    - `task`: the task whose head answers
    - `places`: paths in GLUE's folder where its test file may be; the first that exists is read
    - `rows`: number of rows of GLUE's own test file
    """

    task: str
    places: tuple[str, ...]
    rows: int


ENTRIES: dict[str, Entry] = {
    "CoLA.tsv": Entry("cola", ("CoLA/test.tsv",), 1063),
    "SST-2.tsv": Entry("sst2", ("SST-2/test.tsv",), 1821),
    "MRPC.tsv": Entry("mrpc", ("MRPC/test.tsv",), 1725),
    "STS-B.tsv": Entry("stsb", ("STS-B/test.tsv",), 1379),
    "QQP.tsv": Entry("qqp", ("QQP/test.tsv",), 390_965),
    "MNLI-m.tsv": Entry("mnli", ("MNLI/test_matched.tsv",), 9796),
    "MNLI-mm.tsv": Entry("mnli", ("MNLI/test_mismatched.tsv",), 9847),
    "QNLI.tsv": Entry("qnli", ("QNLI/test.tsv",), 5463),
    "RTE.tsv": Entry("rte", ("RTE/test.tsv",), 3000),
    "WNLI.tsv": Entry("wnli", ("WNLI/test.tsv",), 146),
    # GLUE's download script writes the first one; on GLUE's server it is called AX.tsv.
    "AX.tsv": Entry("mnli", ("diagnostic/diagnostic.tsv", "AX/AX.tsv"), 1104),
}
"""All files of the zip by their required names (Wang et al. 2019; gluebenchmark.com/faq)."""

Shares = dict[str, float]
"""Share of the rows by answer, from 0 to 1; scores are rounded to whole numbers."""


def write(path: Path, answers: dict[str, np.ndarray], rows: dict[str, int]) -> dict[str, Shares]:
    """Writes the zip and returns the shares of each file.

    The zip appears at `path` only after it has passed its check. Equal answers give equal bytes.
    `answers` are arrays [R] by file, with labels and scores as GLUE writes them. `rows` are the
    numbers of rows of the test files.
    """
    aside = path.with_suffix(".aside")
    with zipfile.ZipFile(aside, "w") as archive:
        for file in ENTRIES:
            about = zipfile.ZipInfo(file)  # dated 1980, so that equal answers give equal bytes
            about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            lines = (f"{index}\t{answer}\n" for index, answer in enumerate(answers[file].tolist()))
            archive.writestr(about, "".join([f"{HEADER}\n", *lines]))
    to_disk(aside)
    shares = checked(aside, rows)
    os.replace(aside, path)
    return shares


def checked(path: Path, rows: dict[str, int]) -> dict[str, Shares]:
    """Asserts that a zip has the leaderboard's format, and returns the shares of each file."""
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == list(ENTRIES), f"{path} holds {archive.namelist()}"
        return {file: _shares(file, archive.read(file).decode(), rows[file]) for file in ENTRIES}


def _shares(file: str, text: str, rows: int) -> Shares:
    header, *lines, end = text.split("\n")
    assert (header, end) == (HEADER, ""), f"{file} begins with {header!r} and ends with {end!r}"
    assert len(lines) == rows, f"{file} has {len(lines)} rows, the test file {rows}"
    counts: Counter[str] = Counter()
    for index, line in enumerate(lines):
        number, _, answer = line.partition("\t")
        assert number == str(index), f"{file}: row {index} is numbered {number!r}"
        assert _allowed(ENTRIES[file].task, answer), (
            f"{file}: row {index} is answered with {answer!r}"
        )
        counts[answer] += 1
    shares: Shares = {}
    for answer, count in sorted(counts.items()):
        name = answer if LAYOUTS[ENTRIES[file].task].values else f"{float(answer):.0f}"
        shares[name] = shares.get(name, 0.0) + count / rows
    return shares


def _allowed(task: str, answer: str) -> bool:
    values = LAYOUTS[task].values
    return answer in values if values else re.fullmatch(r"[0-4]\.\d{3}|5\.000", answer) is not None
