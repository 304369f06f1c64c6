"""A GLUE folder in the layout of the official files, with made-up rows: train, dev and test files
of all nine tasks."""

from pathlib import Path
from random import Random
from typing import NamedTuple

from mkd.tasks.task import Row

NUM = 24
"""Rows per test file; train and dev files have three times as many."""


class Official(NamedTuple):
    """A test file in GLUE's layout: its header and its text columns."""

    path: str
    task: str
    header: str
    text: tuple[str, ...]


PARSES = "sentence1_binary_parse,sentence2_binary_parse,sentence1_parse,sentence2_parse"
NLI = f"index,promptID,pairID,genre,{PARSES},sentence1,sentence2"
STSB = "index,genre,filename,year,old_index,source1,source2,sentence1,sentence2"
PAIR = ("sentence1", "sentence2")
MRPC = ("#1 String", "#2 String")
QUESTIONS = ("question1", "question2")
OFFICIAL = {
    "CoLA.tsv": Official("CoLA/test.tsv", "cola", "index,sentence", ("sentence",)),
    "SST-2.tsv": Official("SST-2/test.tsv", "sst2", "index,sentence", ("sentence",)),
    "MRPC.tsv": Official("MRPC/test.tsv", "mrpc", "index,#1 ID,#2 ID,#1 String,#2 String", MRPC),
    "STS-B.tsv": Official("STS-B/test.tsv", "stsb", STSB, PAIR),
    "QQP.tsv": Official("QQP/test.tsv", "qqp", "id,question1,question2", QUESTIONS),
    "MNLI-m.tsv": Official("MNLI/test_matched.tsv", "mnli", NLI, PAIR),
    "MNLI-mm.tsv": Official("MNLI/test_mismatched.tsv", "mnli", NLI, PAIR),
    "QNLI.tsv": Official(
        "QNLI/test.tsv", "qnli", "index,question,sentence", ("question", "sentence")
    ),
    "RTE.tsv": Official("RTE/test.tsv", "rte", "index,sentence1,sentence2", PAIR),
    "WNLI.tsv": Official("WNLI/test.tsv", "wnli", "index,sentence1,sentence2", PAIR),
    "AX.tsv": Official("diagnostic/diagnostic.tsv", "mnli", "index,sentence1,sentence2", PAIR),
}


class Labelled(NamedTuple):
    """A task's train and dev files in GLUE's layout. values: the classes as the files write them,
    in the order of the labels; empty for STS-B, which has scores.

    CoLA's files have no header, so its column names are made up.
    """

    folder: str
    header: str
    text: tuple[str, ...]
    label: str
    values: tuple[str, ...]
    dev: tuple[str, ...] = ("dev",)
    dev_header: str = ""

    def header_of(self, split: str) -> str:
        return self.dev_header or self.header if split in self.dev else self.header


BINARY, ENTAILED = ("0", "1"), ("entailment", "not_entailment")
LABELLED = {
    "cola": Labelled("CoLA", "source,label,mark,sentence", ("sentence",), "label", BINARY),
    "sst2": Labelled("SST-2", "sentence,label", ("sentence",), "label", BINARY),
    "mrpc": Labelled("MRPC", "Quality,#1 ID,#2 ID,#1 String,#2 String", MRPC, "Quality", BINARY),
    "stsb": Labelled("STS-B", f"{STSB},score", PAIR, "score", ()),
    "qqp": Labelled(
        "QQP", "id,qid1,qid2,question1,question2,is_duplicate", QUESTIONS, "is_duplicate", BINARY
    ),
    "mnli": Labelled(
        *("MNLI", f"{NLI},label1,gold_label", PAIR, "gold_label"),
        *(("entailment", "neutral", "contradiction"), ("dev_matched", "dev_mismatched")),
        f"{NLI},label1,label2,label3,label4,label5,gold_label",
    ),
    "qnli": Labelled(
        "QNLI", "index,question,sentence,label", ("question", "sentence"), "label", ENTAILED
    ),
    "rte": Labelled("RTE", "index,sentence1,sentence2,label", PAIR, "label", ENTAILED),
    "wnli": Labelled("WNLI", "index,sentence1,sentence2,label", PAIR, "label", BINARY),
}

WHO = (
    "the baker", "an old sailor", "my neighbour", "the choir", "a young nurse", "the postman",
    "our landlady", "the clockmaker", "a tired teacher", "Zoë", "the ferryman's son",
    "a man called \"Uncle\"", "the twins", "their gardener", "a piano tuner", "the night guard",
)  # fmt: skip
DID = (
    "mended the gate", "sold three lemons", "painted a blue door", "counted the geese",
    "forgot the keys", "baked rye bread", "sang an old tune", "drew a map", "carried the ladder",
    "washed every window", "fed the donkey", "repaired two bicycles", "read the whole letter",
    "hid the parcel", "planted some beans", "swept the stairs",
)  # fmt: skip
WHERE = (
    "behind the mill", "near the harbour", "in the café", "before breakfast", "on a wet Sunday",
    "under the bridge", "by lamplight", "at the end of May", "across the river",
    "in complete silence", "next to the station", "during the storm",
)  # fmt: skip
WHAT = (
    "film", "story", "comedy", "drama", "portrait", "script", "cast", "ending", "sequel",
    "soundtrack",
)  # fmt: skip
GOOD = (
    "warm", "clever", "moving", "delightful", "graceful", "gripping", "charming", "splendid",
    "fresh", "tender",
)  # fmt: skip
BAD = (
    "dull", "clumsy", "lifeless", "tedious", "shallow", "painful", "tired", "dreadful", "stale",
    "messy",
)  # fmt: skip
OPINIONS = (
    "a {} and {} {} ",
    "{} , even {} , for a {} ",
    "as {} as a {} {} can be ",
    '"{} " and " {} " say it all about this {} ',
)
ACTS = (
    "learn to whistle", "keep bees on a roof", "remove wax from wool", "grow figs indoors",
    "store old maps", "sleep on a train",
    "sharpen a saw", "write a short speech", "cook for twelve people", "paint with one hand",
)  # fmt: skip


def rows(task: str, num: int, seed: int = 0) -> list[Row]:
    """Rows whose labels follow from their texts."""
    rng = Random(f"{task} {seed}")
    return [MAKERS[task](rng, i) for i in range(num)]


def _parts(rng: Random) -> tuple[str, str, str]:
    return rng.choice(WHO), rng.choice(DID), rng.choice(WHERE)


def _other(rng: Random, but: str, among: tuple[str, ...]) -> str:
    return rng.choice([each for each in among if each != but])


def _cola(rng: Random, i: int) -> Row:
    who, did, where = _parts(rng)
    label = int(i % 5 > 1)
    return Row(f"{who} {did} {where}." if label else f"{did} {where} {who}.", None, float(label))


def _sst2(rng: Random, i: int) -> Row:
    label = int(i % 5 > 1)
    first, second = rng.sample(GOOD if label else BAD, 2)
    return Row(rng.choice(OPINIONS).format(first, second, rng.choice(WHAT)), None, float(label))


def _mrpc(rng: Random, i: int) -> Row:
    who, did, where = _parts(rng)
    label = int(i % 3 > 0)
    second = f"{where} , {who} {did if label else _other(rng, did, DID)} ."
    return Row(f"{who} {did} {where} .", second, float(label))


def _stsb(rng: Random, i: int) -> Row:
    who, did, where = _parts(rng)
    near = _other(rng, did, DID)
    far = f"{_other(rng, who, WHO)} {_other(rng, did, DID)} {_other(rng, where, WHERE)}"
    pairs = [(f"{where}, {who} {did}", 5.0), (f"{who} {near} {where}", 3.2), (far, 0.4)]
    second, score = pairs[i % 3]
    return Row(f"{who} {did} {where}.", f"{second}.", score)


def _qqp(rng: Random, i: int) -> Row:
    act = rng.choice(ACTS)
    label = int(i % 3 > 0)
    second = f"What helps most to {act if label else _other(rng, act, ACTS)}?"
    return Row(f"How do I {act}?", second, float(label))


def _mnli(rng: Random, i: int) -> Row:
    who, did, where = _parts(rng)
    label = (0, 0, 1, 2)[i % 4]
    elsewhere = f"{who} {did} {_other(rng, where, WHERE)}."
    second = (f"{who} {did}.", elsewhere, f"it was not {who} who {did}.")[label]
    return Row(f"{who} {did} {where}.", second, float(label))


def _two(rng: Random, i: int) -> Row:
    """MNLI's rows with neutral and contradiction merged."""
    row = _mnli(rng, i)
    return row._replace(label=float(bool(row.label)))


def _qnli(rng: Random, i: int) -> Row:
    who, did, where = _parts(rng)
    label = int(i % 3 == 0)
    first = f"Who {_other(rng, did, DID) if label else did}?"
    return Row(first, f"{who} {did} {where}.", float(label))


def _wnli(rng: Random, i: int) -> Row:
    who, did, where = _parts(rng)
    label = int(i % 3 > 0)
    second = f"{who if label else _other(rng, who, WHO)} rested."
    return Row(f"{who} {did} and then rested {where}.", second, float(label))


MAKERS = {
    "cola": _cola, "sst2": _sst2, "mrpc": _mrpc, "stsb": _stsb, "qqp": _qqp, "mnli": _mnli,
    "qnli": _qnli, "rte": _two, "wnli": _wnli,
}  # fmt: skip


def lines_of(path: Path, num: int) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return [line.rstrip("\n") for _, line in zip(range(num), file, strict=False)]


def make_folder(folder: Path) -> Path:
    """Writes train and dev files of 3 NUM rows each (seeds 0, 1 and 2) and test files of NUM rows;
    returns the folder."""
    for task, file in LABELLED.items():
        for seed, split in enumerate(("train", *file.dev)):
            examples = rows(task, 3 * NUM, seed)
            labels = [
                file.values[int(row.label or 0)] if file.values else f"{row.label:.3f}"
                for row in examples
            ]
            texts = [_cells(row, file.text) for row in examples]
            cells = [t | {file.label: label} for t, label in zip(texts, labels, strict=True)]
            path = folder / file.folder / f"{split}.tsv"
            _write(path, file.header_of(split), cells, header=task != "cola")
    for seed, official in enumerate(OFFICIAL.values(), 3):
        cells = [_cells(row, official.text) for row in rows(official.task, NUM, seed)]
        _write(folder / official.path, official.header, cells, header=True)
    return folder


def _cells(row: Row, names: tuple[str, ...]) -> dict[str, str]:
    texts = [text for text in row[:2] if text is not None]
    return {name: str(text) for name, text in zip(names, texts, strict=True)}


def _write(path: Path, columns: str, cells: list[dict[str, str]], header: bool) -> None:
    """Writes a file; missing cells get the row's number in the columns `index` and `id`, else x."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = columns.split(",")
    lines = ["\t".join(names)] if header else []
    for i, row in enumerate(cells):
        filled = row | {name: str(i) for name in ("index", "id") if name not in row}
        lines.append("\t".join(filled.get(name, "x") for name in names))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
