"""The zip that GLUE's leaderboard takes: which files it holds, how they are written, and whether they are as it wants them."""

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
    """One file of the zip: the task whose head answers, where in GLUE's folder its rows are, and how many there officially are.

    places: test files with a header; the first one that is there is read.
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
    # GLUE's download script writes the first one; on its server the file is called AX.tsv.
    "AX.tsv": Entry("mnli", ("diagnostic/diagnostic.tsv", "AX/AX.tsv"), 1104),
}
"""All files that there have to be, by the names that they have to have (Wang et al. 2019; gluebenchmark.com/faq)."""

Shares = dict[str, float]
"""Of the rows, by what they are answered with; scores by the nearest whole number."""


def write(path: Path, answers: dict[str, np.ndarray], rows: dict[str, int]) -> dict[str, Shares]:
    """Writes the zip, which is there once it has passed its check and not before; the shares of each file.

    answers: [R] by file, as GLUE writes labels and scores. rows: of each test file. The same answers give the same bytes.
    """
    aside = path.with_suffix(".aside")
    with zipfile.ZipFile(aside, "w") as archive:
        for file in ENTRIES:
            about = zipfile.ZipInfo(file)  # dated 1980, whenever it is made
            about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            lines = (f"{index}\t{answer}\n" for index, answer in enumerate(answers[file].tolist()))
            archive.writestr(about, "".join([f"{HEADER}\n", *lines]))
    to_disk(aside)
    shares = checked(aside, rows)
    os.replace(aside, path)
    return shares


def checked(path: Path, rows: dict[str, int]) -> dict[str, Shares]:
    """Reads a zip back and asserts that it is as the leaderboard wants it; the shares of each file."""
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
        assert _allowed(ENTRIES[file].task, answer), f"{file}: row {index} is answered with {answer!r}"
        counts[answer] += 1
    shares: Shares = {}
    for answer, count in sorted(counts.items()):
        name = answer if LAYOUTS[ENTRIES[file].task].values else f"{float(answer):.0f}"
        shares[name] = shares.get(name, 0.0) + count / rows
    return shares


def _allowed(task: str, answer: str) -> bool:
    values = LAYOUTS[task].values
    return answer in values if values else re.fullmatch(r"[0-4]\.\d{3}|5\.000", answer) is not None
