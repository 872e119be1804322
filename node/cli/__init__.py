"""The command line, a file per group of commands; `node.__main__` loads each only when it is called."""
