"""What everything stands on: errors in one line, checks of arguments, files whole or not at all, sums.

Every room may use it; it uses none. May import: nothing of this library.
"""
