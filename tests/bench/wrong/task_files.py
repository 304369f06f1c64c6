"""Task files with wrong values, and files that are not task files."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.bench.wrong.case import ROWS_CSV, Case

KEYS = (
    "train", "dev", "text", "label", "kind", "labels", "metrics", "range", "unlabelled", "header",
    "separator", "unknown",
)  # fmt: skip
VALUES = (
    "null", "3", "-1", "1.5", ".nan", ".inf", "true", "''", "[]", "{}", "[[]]", "[null]", "[a, a]",
    "[1, 2]", "[5, 0]", "{file: rows.csv}", "{file: []}", "rows.csv", "nowhere.csv", "../..",
    "/dev/null", "text", "[text, text]", "[text, label]", "regression", "multilabel", "[good, bad]",
    "[good]", "2020-01-01", "12:30", "0x1f", "!!python/object:os.system x", "*a", "'\\0'",
    "'\\ud800'", "x" * 5000, "[" + "a, " * 3000 + "a]",
)  # fmt: skip
WHOLE: dict[str, bytes] = {
    "empty": b"",
    "a list": b"- train: rows.csv\n",
    "a word": b"train\n",
    "brackets": b"[" * 50_000,
    "braces": b"{a: " * 5000,
    "anchors": b"a: &a [x]\n" + b"".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n".encode()
        for i in range(20)
    ),
    "an anchor within itself": b"t: &a {train: *a}\n",
    "NUL": b"t:\n  train: rows.csv\0\n",
    "latin-1": "t:\n  train: fa\u00e7ade.csv\n".encode("latin-1"),
    "UTF-16": "t:\n  train: rows.csv\n".encode("utf-16"),
    "tabs": b"t:\n\ttrain: rows.csv\n",
    "a key twice": b"t:\n  train: rows.csv\n  train: rows.csv\n",
    "a task twice": b"t:\n  train: rows.csv\nt:\n  train: rows.csv\n",
    "mean": b"mean:\n  train: rows.csv\n",
    "a number for a name": b"1:\n  train: rows.csv\n",
    "a slash in a name": b"a/b:\n  train: rows.csv\n",
    "a name of dots": b"..:\n  train: rows.csv\n",
    "null for a task": b"t:\n",
    "two documents": b"t:\n  train: rows.csv\n---\nu: {}\n",
    "a list for a key": b"? [a]\n: {train: rows.csv}\n",
    "a thousand tasks": b"".join(f"t{i}: {{train: rows.csv}}\n".encode() for i in range(1000)),
    "labels without quotes": b"t:\n  train: rows.csv\n  labels: [?, !]\n",
    "a huge number": b"t:\n  train: rows.csv\n  dev: " + b"9" * 5000 + b"\n",
}  # fmt: skip


def cases() -> Iterator[Case]:
    """Yields each key with each value, and each file that is not a task file."""
    for key in KEYS:
        for value in VALUES:
            lines = {"train": "rows.csv", key: value}
            text = "t:\n" + "".join(f"  {name}: {content}\n" for name, content in lines.items())
            yield _case(f"{key}: {value}", text.encode())
    for name, content in WHOLE.items():
        yield _case(name, content)


def _case(what: str, content: bytes) -> Case:
    return Case("distill", f"task file {what}", ["--data.path=t.yaml"], partial(_write, content))


def _write(content: bytes, folder: Path) -> None:
    (folder / "rows.csv").write_text(ROWS_CSV)
    (folder / "t.yaml").write_bytes(content)
