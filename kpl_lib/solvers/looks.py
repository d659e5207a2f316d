"""When the host looks at a device that each look makes wait."""

LOOK = 50  # steps between two looks, at least


def look_after(done: int) -> int:
    """Steps until the host looks again: LOOK, later two thirds of those done; 2,000 steps take eight looks.

    Example:
        >>> look_after(0), look_after(600)
        (50, 400)
    """
    return max(LOOK, 2 * done // 3)
