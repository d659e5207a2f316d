"""The one error that means "your input, not our code"."""


class InputError(ValueError):
    """Bad input, said in one line: what is wrong, where, and what to do about it.

    The command line prints the line and exits with code 2; anything else that is raised is a bug in this library.

    Chapter: ch-own-images
    """
