"""A GLUE folder with test files in the official layout, which are made of the first rows of its real dev files."""

from pathlib import Path
from typing import NamedTuple

import pytest
from entry import ROOT

REAL = ROOT.parent / "shared" / "data" / "glue"
real_data = pytest.mark.skipif(not REAL.is_dir(), reason=f"no GLUE files beside this checkout, at {REAL}")

NUM = 24


class Official(NamedTuple):
    """A test file as GLUE has it: its header, its text columns, and the dev file whose rows from `start` on it is made of."""

    path: str
    task: str
    header: str
    text: tuple[str, ...]
    dev: str
    start: int = 0


PARSES = "sentence1_binary_parse,sentence2_binary_parse,sentence1_parse,sentence2_parse"
NLI = f"index,promptID,pairID,genre,{PARSES},sentence1,sentence2"
PAIR = ("sentence1", "sentence2")
OFFICIAL = {
    "CoLA.tsv": Official("CoLA/test.tsv", "cola", "index,sentence", ("sentence",), "CoLA/dev.tsv"),
    "SST-2.tsv": Official("SST-2/test.tsv", "sst2", "index,sentence", ("sentence",), "SST-2/dev.tsv"),
    "MRPC.tsv": Official(
        "MRPC/test.tsv", "mrpc", "index,#1 ID,#2 ID,#1 String,#2 String", ("#1 String", "#2 String"), "MRPC/dev.tsv"
    ),
    "STS-B.tsv": Official(
        "STS-B/test.tsv",
        "stsb",
        "index,genre,filename,year,old_index,source1,source2,sentence1,sentence2",
        PAIR,
        "STS-B/dev.tsv",
    ),
    "QQP.tsv": Official("QQP/test.tsv", "qqp", "id,question1,question2", ("question1", "question2"), "QQP/dev.tsv"),
    "MNLI-m.tsv": Official("MNLI/test_matched.tsv", "mnli", NLI, PAIR, "MNLI/dev_matched.tsv"),
    "MNLI-mm.tsv": Official("MNLI/test_mismatched.tsv", "mnli", NLI, PAIR, "MNLI/dev_matched.tsv", NUM),
    "QNLI.tsv": Official("QNLI/test.tsv", "qnli", "index,question,sentence", ("question", "sentence"), "QNLI/dev.tsv"),
    "RTE.tsv": Official("RTE/test.tsv", "rte", "index,sentence1,sentence2", PAIR, "RTE/dev.tsv"),
    "WNLI.tsv": Official("WNLI/test.tsv", "wnli", "index,sentence1,sentence2", PAIR, "WNLI/dev.tsv"),
    "AX.tsv": Official("diagnostic/diagnostic.tsv", "mnli", "index,sentence1,sentence2", PAIR, "MNLI/dev_matched.tsv", 2 * NUM),
}


def lines_of(path: Path, num: int) -> list[str]:
    with path.open() as file:
        return [line.rstrip("\n") for _, line in zip(range(num), file, strict=False)]


def make_folder(folder: Path) -> Path:
    """A GLUE folder: train and dev files of a few rows, and test files of NUM."""
    for official in OFFICIAL.values():
        (folder / official.path).parent.mkdir(parents=True, exist_ok=True)
        names = official.header.split(",")
        dev = lines_of(REAL / official.dev, 1 + 3 * NUM)
        if official.task == "cola":
            rows = [dict(zip(["", "label", "", "sentence"], line.split("\t"), strict=True)) for line in dev]
        else:
            rows = [dict(zip(dev[0].split("\t"), line.split("\t"), strict=True)) for line in dev[1:]]
        taken = rows[official.start : official.start + NUM]
        body = ["\t".join([str(i), *(row.get(name, "x") for name in names[1:])]) for i, row in enumerate(taken)]
        (folder / official.path).write_text("\n".join(["\t".join(names), *body]) + "\n")
        for name in (official.dev, str(Path(official.dev).parent / "train.tsv")):
            (folder / name).write_text("\n".join(lines_of(REAL / name, 1 + 3 * NUM)) + "\n")
    return folder
