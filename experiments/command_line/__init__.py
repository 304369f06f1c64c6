"""What experiments/cli.py is made of: the text of --help, and the files of --config."""
