import zipfile
from pathlib import Path

import numpy as np
import pytest

from mkd.runs.leaderboard import ZIP_ENTRIES, check_zip, write_zip
from mkd.tasks.sources import GLUE_FILES

ROWS = dict.fromkeys(ZIP_ENTRIES, 2)
HEADER = "index\tprediction\n"


def answer_of(file: str) -> str:
    return next(iter(GLUE_FILES[ZIP_ENTRIES[file].task].values), "2.500")


def good() -> dict[str, str]:
    return {file: f"{HEADER}0\t{answer_of(file)}\n1\t{answer_of(file)}\n" for file in ZIP_ENTRIES}


def zipped(path: Path, texts: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in texts.items():
            archive.writestr(file, text)
    return path


def test_a_zip_has_the_format_of_the_leaderboard(tmp_path: Path) -> None:
    shares = write_zip(
        tmp_path / "a.zip", {file: np.array([answer_of(file)] * 2) for file in ZIP_ENTRIES}, ROWS
    )
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == good()
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o644}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert shares["RTE.tsv"] == {"entailment": 1.0} and shares["STS-B.tsv"] == {"2": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_shares_of_scores_use_the_nearest_integer(tmp_path: Path) -> None:
    texts = good() | {"STS-B.tsv": f"{HEADER}0\t0.499\n1\t4.501\n2\t5.000\n3\t3.000\n"}
    shares = check_zip(zipped(tmp_path / "a.zip", texts), ROWS | {"STS-B.tsv": 4})
    assert shares["STS-B.tsv"] == {"0": 0.25, "3": 0.25, "5": 0.5}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("CoLA.tsv", "0\t1\n1\t1\n", "CoLA.tsv begins with '0\\t1'"),
        ("CoLA.tsv", f"{HEADER}0\t1\n1\t1", "CoLA.tsv begins with .* ends with '1\\t1'"),
        ("QQP.tsv", f"{HEADER}0\t1\n", "QQP.tsv has 1 rows, the test file 2"),
        ("QQP.tsv", f"{HEADER}0\t1\n2\t1\n", "QQP.tsv: row 1 is numbered '2'"),
        ("WNLI.tsv", f"{HEADER}0\t1\n1\tentailment\n",
         "WNLI.tsv: row 1 is answered with 'entailment'"),
        ("AX.tsv", f"{HEADER}0\tneutral\n1\t0\n", "AX.tsv: row 1 is answered with '0'"),
        ("STS-B.tsv", f"{HEADER}0\t5.001\n1\t1.000\n", "STS-B.tsv: row 0 is answered with '5.001'"),
        ("STS-B.tsv", f"{HEADER}0\t-0.100\n1\t1.000\n",
         "STS-B.tsv: row 0 is answered with '-0.100'"),
        ("STS-B.tsv", f"{HEADER}0\tnan\n1\t1.000\n", "STS-B.tsv: row 0 is answered with 'nan'"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused(file: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=message.replace("\\t", r"\\t")):
        check_zip(zipped(tmp_path / "a.zip", good() | {file: text}), ROWS)


def test_a_zip_without_one_of_the_files_is_refused(tmp_path: Path) -> None:
    texts = good()
    del texts["AX.tsv"]
    with pytest.raises(AssertionError, match="a.zip holds"):
        check_zip(zipped(tmp_path / "a.zip", texts), ROWS)


def test_an_invalid_zip_is_not_left_behind(tmp_path: Path) -> None:
    answers = {file: np.array([answer_of(file)] * 2) for file in ZIP_ENTRIES} | {
        "RTE.tsv": np.array(["maybe", "maybe"])
    }
    with pytest.raises(AssertionError, match="RTE.tsv: row 0"):
        write_zip(tmp_path / "a.zip", answers, ROWS)
    assert not (tmp_path / "a.zip").exists()
