"""The library's command line. Each command loads what it runs when it runs, so that `--help` is quick."""
