"""What augmentation and transfer text add over gold rows, from the comparisons that
experiments.ablation has logged.

python tests/bench/transfer_curve.py transfer.png bilstm=COMPARISON.json
transformer=COMPARISON.json
"""

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure

AFTER = 1.6
"""Where the transfer text stands, which is no multiple: so many times as far as the last one."""
GOLD, HARD, TEXT = "gold rows", "hard labels", "transfer text"


def multiples(means: dict[str, float]) -> dict[int, float]:
    """Mean score by how many copies of each gold row there were."""
    copies = {
        int(name.removeprefix("augmented ").removesuffix("x")): name
        for name in means
        if name.startswith("augmented ")
    }
    return {0: means[GOLD]} | {count: means[name] for count, name in sorted(copies.items())}


def drawn(comparisons: dict[str, dict[str, float]]) -> Figure:
    """A line for each student over its multiples; its transfer text as a star, its hard labels as a
    dashed line."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for colour, (student, means) in zip(
        ("#0072b2", "#d55e00", "#009e73"), comparisons.items(), strict=False
    ):
        found = multiples(means)
        axes.plot(
            [1 + count for count in found],
            list(found.values()),
            "o-",
            color=colour,
            label=f"{student}: gold rows, copies",
        )
        axes.plot(
            [max(found) * 1.6], [means[TEXT]], "*", color=colour, markersize=12,
            label=f"{student}: gold rows and transfer text",
        )  # fmt: skip
        axes.axhline(
            means[HARD], color=colour, linestyle="--", linewidth=1, label=f"{student}: hard labels"
        )
    axes.set_xscale("log")
    ticks = {1 + count: f"{count}x" if count else "gold" for count in found} | {
        AFTER * (1 + max(found)): "text"
    }
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.minorticks_off()
    axes.set(
        xlabel="copies of each gold row, changed at random and labelled by the teacher",
        ylabel="mean score on dev, points",
    )
    axes.legend(fontsize="small")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", type=Path)
    parser.add_argument("comparisons", nargs="+", metavar="STUDENT=FILE")
    given = parser.parse_args()
    found = {}
    for pair in given.comparisons:
        student, _, file = pair.partition("=")
        found[student] = {
            row["variant"]: row["mean"] for row in json.loads(Path(file).read_text())["variants"]
        }
    drawn(found).savefig(given.picture, dpi=150)


if __name__ == "__main__":
    main()
