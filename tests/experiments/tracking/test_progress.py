"""What goes to a bar and what is kept."""

from experiments.tracking import progress

Told = list[tuple[int, dict[str, float]]]


def test_shares_of_phases_and_numbers_to_keep_go_apart() -> None:
    shares: Told = []
    kept: Told = []
    report = progress.split_progress(
        lambda *told: shares.append(told), lambda *told: kept.append(told)
    )
    report(25, {"progress/student": 0.5, "train/loss": 1.0})
    report(50, {"progress/student": 1.0})
    report(50, {"selection/mean": 70.0})
    assert shares == [(25, {"progress/student": 0.5}), (50, {"progress/student": 1.0})]
    assert kept == [(25, {"train/loss": 1.0}), (50, {"selection/mean": 70.0})]
