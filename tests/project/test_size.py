from pathlib import Path

import pytest

from tests.bench import size


def test_all_stages_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "BATCHES", 20)
    result = size.measure("paraphrase", 301, tmp_path)
    assert result.rows == 301
    assert 301 < result.tokens < 30_000
    assert min(result.tokenise_s, result.label_s, result.first_batch_s, result.batches_s) > 0
    assert 0 < result.anonymous_mib < result.peak_mib
    assert result.idle_mib[0] <= result.peak_mib


def test_a_row_of_the_table_by_hand() -> None:
    lines = size.table(
        [size.Measured(10**6, 7 * 10**6, 20.0, 50.0, 0.25, 4.0, 900.4, 400.0, (450.0, 330.0))]
    )
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells == [
        "1,000,000", "7,000,000", "20.0", "50,000", "50.0", "20,000", "0.25", "500", "900", "400",
    ]  # fmt: skip
