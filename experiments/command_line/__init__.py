"""Parts of experiments/cli.py: the text of --help, the files of --config, and completion."""
