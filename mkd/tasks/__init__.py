"""Tasks, their metrics and the sources of their rows: demo suite, GLUE, the hub and user files."""
