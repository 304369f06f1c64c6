"""The picture of a search: quality on the selection split against latency."""

from matplotlib.figure import Figure

from analysis.presentation import front_plot
from analysis.presentation.figure import new_figure
from analysis.presentation.front_plot import (
    FrontPlot,
    draw_front,
    finish_front,
    front_line,
    named_places,
)
from experiments.studies.search_results import SearchResults


def picture_data(results: SearchResults, axis: str) -> FrontPlot:
    """Computes the picture's numbers: all trials, with the names of those on the front.

    axis: backend and setting that latency was measured in.
    """
    shown = sorted(results.points, key=lambda p: (not p.on_front, p.latency_ms))
    named = named_places([point.on_front for point in shown])
    # A trial's name is `t012 KIND-SIZE LOSS LATENCY`.
    points = [
        front_plot.ModelPoint(
            label=" ".join(point.name.split(" ")[:2]),
            kind=point.name.split(" ")[1].split("-")[0],
            cost=point.latency_ms,
            quality=point.quality,
            area=46.0,
            front=point.on_front,
            named=place in named,
        )
        for place, point in enumerate(shown)
    ]
    return FrontPlot(
        points,
        line=front_line([(point.cost, point.quality) for point in points if point.front]),
        teachers=[],
        twins=[],
        title="Quality and latency of the search's trials",
        cost=f"latency, ms ({axis}; log scale)",
        quality="mean score on the selection split (points)",
        # The teacher's score is that on dev, so that only its latency is comparable.
        limits=(("teacher's latency", results.teacher[0]),) if results.teacher else (),
    )


def draw(plot: FrontPlot) -> Figure:
    """Draws quality on the selection split against latency, with a legend below."""
    figure = new_figure(8, 5.4)
    axes = figure.subplots()
    draw_front(axes, plot)
    finish_front(axes, plot)
    return figure
