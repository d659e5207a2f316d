"""The command line, run in this process."""

import sys

from kpl_lib import cli


def kpl(monkeypatch, capsys, *arguments):
    """Run `kpl` in this process; return exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["kpl", *map(str, arguments)])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    return code, *capsys.readouterr()
