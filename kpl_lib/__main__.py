"""`python -m kpl_lib` is the command line."""

from kpl_lib.cli.commands import main

if __name__ == "__main__":
    main()
