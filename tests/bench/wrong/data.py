"""Files of rows that are damaged, of another format, not files, or have surprising content."""

import io
import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.wrong.case import ROWS, ROWS_CSV, Case

RECORDS = [dict(zip(("text", "label"), line.split(","), strict=True)) for line in ROWS.splitlines()]


def parquet(columns: Any) -> bytes:
    """Returns a Parquet file."""
    content = io.BytesIO()
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), content)
    return content.getvalue()


def jsonl(records: list[Any]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


TEXT, LABEL = ([record[key] for record in RECORDS] for key in ("text", "label"))
GOOD: dict[str, bytes] = {
    "csv": ROWS_CSV.encode(),
    "tsv": ROWS_CSV.replace(",", "\t").encode(),
    "jsonl": jsonl(RECORDS),
    "parquet": parquet({"text": TEXT, "label": LABEL}),
}
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "a byte": lambda content: content[:1],
    "a third": lambda content: content[: len(content) // 3],
    "no last byte": lambda content: content[:-1],
    "NUL in the middle": lambda content: _in_middle(content, bytes(3)),
    "latin-1 in the middle": lambda content: _in_middle(content, "façade".encode("latin-1")),
    "UTF-16": lambda content: content.decode("latin-1").encode("utf-16"),
    "zeros": lambda content: bytes(len(content)),
    "a Git LFS pointer": lambda content: b"version https://git-lfs.github.com/spec/v1\noid 1\n",
    "a web page": lambda content: b"<!DOCTYPE html><html><body>404</body></html>\n",
    "a BOM": lambda content: b"\xef\xbb\xbf",
    "blank lines": lambda content: b"\n" * 50,
    "CR alone": lambda content: content.replace(b"\n", b"\r"),
    "one line": lambda content: content.split(b"\n")[0],
    "two lines": lambda content: b"\n".join(content.split(b"\n")[:2]),
    "twice": lambda content: content + content,
}
"""Functions that damage the content of a file of any format."""
CELL = "x" * 3_000_000
TABLES = {
    "no label": "text\n" + "a film\n" * 30,
    "no text": "label\n" + "good\nbad\n" * 30,
    "columns twice": "text,text,label\n" + "a,b,good\nc,d,bad\n" * 30,
    "a label twice": "text,label,label\n" + "a,good,x\nc,bad,y\n" * 30,
    "header alone": "text,label\n",
    "no header": ROWS,
    "one class": "text,label\n" + "a film,good\n" * 30,
    "as many labels as rows": "text,label\n" + "".join(f"a film,{i}x\n" for i in range(60)),
    "no label at all": "text,label\n" + "a film,\n" * 30,
    "no text at all": "text,label\n" + ",good\n,bad\n" * 30,
    "a short row": ROWS_CSV + "a film\n",
    "a long row": ROWS_CSV + "a,b,c,d\n",
    "an open quote": ROWS_CSV + '"a film,good\n',
    "a huge cell": ROWS_CSV + f"{CELL},good\n",
    "a huge label": ROWS_CSV + f"a film,{CELL}\n",
    "a huge header": f"{CELL},label\n" + ROWS,
    "many columns": ",".join(f"c{i}" for i in range(5000)) + "\n" + "1," * 4999 + "1\n",
    "blank names": ",\n" + ROWS,
    "numbers and words": "text,label\n" + "a,1\nb,two\nc,3.5\nd,nan\ne,inf\n" * 9,
    "semicolons": ROWS_CSV.replace(",", ";"),
    "a rare label": ROWS_CSV + "a film,rare\n",
    "control characters": "text,label\n" + "a\x1b[31m,good\nb\x07,bad\n" * 30,
    "scores without end": "text,label\n" + "".join(f"a {i},1e{i}\n" for i in range(300, 360)),
}
"""Contents of CSV files; TSV files have the same with tabs."""
ANY: list[Any] = [None, True, 1, "x", [], {}, 0.5]
LINES: dict[str, bytes] = {
    "lists": b'["a", "good"]\n' * 30,
    "brackets": b"[" * 100_000 + b"\n",
    "nested values": jsonl([{"text": {"a": [1]}, "label": "x"}] * 30),
    "a long integer": b'{"text": "a", "label": ' + b"9" * 5000 + b"}\n",
    "numbers as text": jsonl([{"text": i, "label": "good"} for i in range(40)]),
    "labels of any type": jsonl([{"text": "a", "label": label} for label in ANY] * 8),
    "lists of labels": jsonl([{"text": f"a {i}", "label": [["x"], i]} for i in range(40)]),
    "keys that change": jsonl([{f"text{i}": "a", "label": "x"} for i in range(40)]),
    "a key twice": b'{"text": "a", "text": "b", "label": "x", "label": "y"}\n' * 30,
    "half a pair": b'{"text": "\\ud800", "label": "x"}\n' * 30,
    "NaN": b'{"text": "a", "label": NaN}\n' * 30,
    "an array": json.dumps(RECORDS).encode(),
    "many keys": json.dumps({f"k{i}": "a" for i in range(20_000)}).encode() + b"\n",
}
TYPES: dict[str, Any] = {
    "structs": {"text": TEXT, "label": [{"a": 1}] * 60},
    "lists of structs": {"text": [[{"a": 1}]] * 60, "label": LABEL},
    "bytes": {"text": [text.encode() for text in TEXT], "label": LABEL},
    "bytes that are no text": {"text": [b"\xff\xfe"] * 60, "label": LABEL},
    "times": {"text": TEXT, "label": [datetime(2020, 1, 1 + i % 9) for i in range(60)]},
    "decimals": {"text": TEXT, "label": [Decimal(i % 3) / 7 for i in range(60)]},
    "categories": {"text": TEXT, "label": pa.array(LABEL).dictionary_encode()},
    "nulls": {"text": TEXT, "label": pa.nulls(60)},
    "texts that are null": {"text": pa.nulls(60, pa.string()), "label": LABEL},
    "no rows": {"text": pa.array([], pa.string()), "label": pa.array([], pa.string())},
    "no columns": pa.table({}),
    "numbers": {"text": list(range(60)), "label": LABEL},
    "NaN and infinity": {"text": TEXT, "label": [float("nan"), float("inf")] * 30},
    "columns twice": pa.Table.from_arrays([pa.array(TEXT)] * 3, names=["text", "text", "label"]),
    "booleans": {"text": TEXT, "label": [i % 2 == 0 for i in range(60)]},
    "an integer of 64 bits": {"text": TEXT, "label": [2**63 - 1, -(2**63)] * 30},
}


def contents() -> Iterator[tuple[str, str, bytes]]:
    """Yields the ending, the name and the content of each wrong file."""
    for ending, good in GOOD.items():
        for name, damage in DAMAGES.items():
            yield ending, name, damage(good)
        for other, content in GOOD.items():
            if other != ending:
                yield ending, f"{other} inside", content
    for name, text in TABLES.items():
        yield "csv", name, text.encode()
        yield "tsv", name, text.replace(",", "\t").encode()
    for name, content in LINES.items():
        yield "jsonl", name, content
    for name, columns in TYPES.items():
        yield "parquet", name, parquet(columns)


SPECIAL: dict[str, Callable[[Path], object]] = {
    "a folder": lambda path: path.mkdir(),
    "a FIFO": lambda path: os.mkfifo(path),
    "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("/nowhere/at/all"),
    "a link to /proc/self/mem": lambda path: path.symlink_to("/proc/self/mem"),
    "unreadable": lambda path: _unreadable(path),
    "nothing": lambda path: None,
}
"""Functions that make something other than a readable file at a path."""
SAVED: dict[str, Callable[[Path], object]] = {
    "no state.json": lambda saved: (saved / "state.json").unlink(),
    "no dataset_info.json": lambda saved: (saved / "dataset_info.json").unlink(),
    "state.json of a list": lambda saved: (saved / "state.json").write_text("[]"),
    "dataset_info.json of a list": lambda saved: (saved / "dataset_info.json").write_text("[]"),
    "empty arrow": lambda saved: next(saved.glob("*.arrow")).write_bytes(b""),
    "cut arrow": lambda saved: _cut(next(saved.glob("*.arrow"))),
    "no arrow": lambda saved: next(saved.glob("*.arrow")).unlink(),
    "a dict of nothing": lambda saved: (saved / "dataset_dict.json").write_text('{"splits": []}'),
    "a dict of what is not there": lambda saved: (saved / "dataset_dict.json").write_text(
        '{"splits": ["train", "x/../../y"]}'
    ),
}
"""Functions that damage a folder written by `save_to_disk`."""


def cases() -> Iterator[Case]:
    """Yields each wrong file for the commands that read rows."""
    files = [(f"rows.{ending}", name, partial(_put, f"rows.{ending}", content))
             for ending, name, content in contents()]  # fmt: skip
    files += [
        (f"rows.{ending}", name, partial(_call, make, f"rows.{ending}"))
        for ending in GOOD
        for name, make in SPECIAL.items()
    ]
    for file, name, write in files:
        yield Case("distill", f"{file} {name}", [f"--data.path={file}"], write)
        yield Case("init", f"{file} {name}", [file], write)
        yield Case("init", f"dev: {file} {name}", ["good.csv", file], partial(_with_good, write))
    for name, damage in SAVED.items():
        yield Case("distill", f"saved {name}", ["--data.path=saved"], partial(_saved, damage))


def _in_middle(content: bytes, more: bytes) -> bytes:
    return content[: len(content) // 2] + more + content[len(content) // 2 :]


def _unreadable(file: Path) -> None:
    file.write_text(ROWS_CSV)
    file.chmod(0)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _put(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)


def _call(make: Callable[[Path], object], name: str, folder: Path) -> None:
    make(folder / name)


def _with_good(write: Callable[[Path], object], folder: Path) -> None:
    """Writes the wrong file and a valid file of train rows."""
    (folder / "good.csv").write_text(ROWS_CSV)
    write(folder)


def _saved(damage: Callable[[Path], object], folder: Path) -> None:
    from datasets import Dataset

    Dataset.from_list(RECORDS).save_to_disk(str(folder / "saved"))
    damage(folder / "saved")
