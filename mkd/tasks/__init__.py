"""Tasks and where their rows come from: the demo suite, GLUE, the hub, files of the user's own; and their metrics."""
