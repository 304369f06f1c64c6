"""Times the training loop beside those that most people write, in alternation in one process.

    python -m experiments.throughput --config experiments/configs/throughput.yaml --teacher.checkpoint ENCODER

Without data and a checkpoint of your own it takes the demo's. It trains for the clock alone: no run is recorded. The last
line printed is JSON; by student, `ratio_to_plain` has the project's loop in `train.precision`, beside it the same in either.
The other loops are in float32.
"""

import json
import sys

from experiments import cli
from experiments.settings import Throughput
from experiments.tracking import progress
from experiments.tracking.table import markdown
from mkd.runs.throughput import throughput


def measure(config: Throughput) -> None:
    """All loops, as a table and as JSON."""
    with progress.bars(lambda step, metrics: None) as report:
        found = throughput(config.core(), config.throughput, report)
    header = ["student", "loop", "rows / CPU s", "rows / s", "x plain", "of matrix rate"]
    body = [
        [t.student, t.loop, f"{found.rows / t.seconds.cpu:,.0f}", f"{found.rows / t.seconds.wall:,.0f}", f"{t.ratio:.1f}",
         f"{100 * t.matrix_share:.0f} %"]
        for t in found.timings
    ]  # fmt: skip
    print("\n".join(markdown([header, *body])))
    print(f"\nthe teacher's one pass over the rows: {found.rows / found.teacher.cpu:,.0f} rows / CPU s")
    ratios = {
        f"ratio_to_plain{suffix}": {t.student: t.ratio for t in found.timings if t.loop == f"mkd, {precision}"}
        for suffix, precision in (("", config.train.precision), ("_float32", "float32"), ("_bfloat16", "bfloat16"))
    }
    rows = [t._asdict() | {"seconds": t.seconds._asdict()} for t in found.timings]
    print(json.dumps(ratios | {"rows": found.rows, "teacher": found.teacher._asdict(), "timings": rows}))


if __name__ == "__main__":
    sys.exit(cli.entry(measure, __doc__ or "", Throughput))
