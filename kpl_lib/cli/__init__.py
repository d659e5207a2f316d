"""The command line `kpl`: a file a group of commands, their heavy imports inside their functions.

Public: app, main. May import: everything.
"""

from kpl_lib.cli.commands import app, main

__all__ = ["app", "main"]
