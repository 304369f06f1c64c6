"""Writes tables: the same Markdown is printed in the console, logged, and put in documents."""


def markdown(rows: list[list[str]]) -> list[str]:
    """Returns an aligned Markdown table, line by line. The first row is the header.

    The first column is aligned left, all others right.

    >>> print(*markdown([["model", "ms"], ["bilstm-64", "1.5"]]), sep="\\n")
    | model     |  ms |
    | :-------- | --: |
    | bilstm-64 | 1.5 |
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: list[str]) -> str:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        return f"| {' | '.join(cells)} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return [line(rows[0]), line(rule), *(line(row) for row in rows[1:])]
