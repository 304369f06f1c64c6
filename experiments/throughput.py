"""Times MKD's training loop against common training loops, in turn and in one process.

    mkd throughput --config throughput --teacher.checkpoint ENCODER

Without data and a checkpoint it uses those of the demo. It measures time only: no run is logged.
`--json` prints JSON, in which `ratio_to_plain` is the speedup by student of MKD's loop in
`train.precision`; `ratio_to_plain_float32` and `ratio_to_plain_bfloat16` are those in each
precision. The other loops run in float32.
"""

import sys

from experiments import cli

if __name__ == "__main__":  # before the imports that follow: those take seconds
    sys.exit(cli.main("experiments.throughput:compare_loops", __doc__))


from analysis.presentation.printing import set_result
from analysis.presentation.table import markdown
from experiments.benchmark.loops import LoopTimings, time_loops
from experiments.settings import ThroughputSettings
from mkd import progress
from mkd.result import no_report


def compare_loops(config: ThroughputSettings) -> LoopTimings:
    """Times all loops; prints a table and JSON. Returns the timings."""
    with progress.phase_bars(no_report) as report:
        result = time_loops(config.core(), config.throughput, report)
    header = ["student", "loop", "rows / CPU s", "rows / s", "x plain", "of matrix rate"]
    body = [
        [
            t.student,
            t.loop,
            f"{result.rows / t.seconds.cpu:,.0f}",
            f"{result.rows / t.seconds.wall:,.0f}",
            f"{t.ratio:.1f}",
            f"{100 * t.matrix_share:.0f} %",
        ]
        for t in result.timings
    ]
    print("\n".join(markdown([header, *body])))
    print(
        "\nthe teacher's one pass over the rows: "
        f"{result.rows / result.teacher.cpu:,.0f} rows / CPU s"
    )
    ratios = {
        f"ratio_to_plain{suffix}": {
            t.student: t.ratio for t in result.timings if t.loop == f"mkd, {precision}"
        }
        for suffix, precision in (
            ("", config.train.precision),
            ("_float32", "float32"),
            ("_bfloat16", "bfloat16"),
        )
    }
    rows = [t._asdict() | {"seconds": t.seconds._asdict()} for t in result.timings]
    set_result(ratios | {"rows": result.rows, "teacher": result.teacher._asdict(), "timings": rows})
    return result
