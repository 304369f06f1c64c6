import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "bench" / "size.py"


def test_each_number_of_rows_is_measured_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--rows", "301", "--task", "paraphrase", "--folder", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[2])}
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout.splitlines()
    found = json.loads(lines[-1])
    (measured,) = found["measured"]
    assert measured["rows"] == 301
    assert 301 < measured["tokens"] < 30_000
    assert measured["idle_mib"][0] < measured["peak_mib"] < 2048
    assert measured["anonymous_mib"] < measured["peak_mib"]
    assert [line for line in lines if line.startswith("| 301 ")]
    assert list(tmp_path.iterdir()) == []
