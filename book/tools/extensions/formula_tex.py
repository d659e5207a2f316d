"""Formulas as docstrings write them, in plain Unicode, to LaTeX: `W ← W − lr/N · (P − Y)ᵀ X`."""

import re
import unicodedata

SYMBOLS = {
    "←": r"\leftarrow ",
    "→": r"\to ",
    "−": "-",
    "·": r"\cdot ",
    "×": r"\times ",
    "±": r"\pm ",
    "½": r"\tfrac12 ",
    "Σ": r"\sum ",
    "‖": r"\|",
    "ℓ": r"\ell ",
    "λ": r"\lambda ",
    "Λ": r"\Lambda ",
    "∩": r"\cap ",
    "∪": r"\cup ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "∈": r"\in ",
    "≈": r"\approx ",
    "…": r"\dots ",
    "%": r"\%",
    "#": r"\#",
    "&": r"\&",
}
RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᵀ", [*"0123456789-", r"\top"], strict=True))
FUNCTIONS = {"argmax", "argmin", "det", "diag", "exp", "log", "max", "mean", "min", "norm", "sum", "var"}
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
MARKS = {"\u0302": r"\hat", "\u0303": r"\tilde", "\u0304": r"\bar", "\u0305": r"\bar"}
TOKEN = re.compile(
    r"(?P<gap>[,;]\s{2,})|(?P<space>\s+)"
    r"|_\{(?P<group>[^{}]*)\}|_(?P<index>[^\W\d_]+[\u0302-\u0305]?|\d+)"
    r"|(?P<raised>[⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᵀ]+)|(?P<lowered>[₀-₉]+)"
    r"|(?P<base>[^\W\d_])(?P<mark>[\u0302-\u0305])"
    r"|(?P<word>[A-Za-z]{2,}(?:-[a-z]+)*)(?P<call>(?=[(_]))?|(?P<compare><=|>=|!=)|(?P<other>.)",
    re.DOTALL,
)
INDEXED = re.compile(r"[A-Za-z]_[a-z]{1,2}")
WORDS = {"as", "at", "in", "is", "of", "or", "to"}  # two letters, yet no name of a function
COMPARE = {"<=": r"\le ", ">=": r"\ge ", "!=": r"\ne "}


def is_formula(text: str) -> bool:
    """Whether a piece of code is a formula: it holds a letter or sign that no program would, or is like `b_j`.

    Example:
        >>> is_formula("X Tᵀ"), is_formula("b_j"), is_formula("[N, D]")
        (True, True, False)
    """
    return bool(INDEXED.fullmatch(text)) or any(
        ord(character) > 127 for character in unicodedata.normalize("NFD", text)
    )


def to_tex(text: str) -> str:
    """LaTeX of a formula.

    Example:
        >>> to_tex("û = u/‖u‖")
        '\\\\hat{u} = u/\\\\|u\\\\|'
        >>> to_tex("x_ij ≤ (δ̄_j + τ_max)ᵀ")
        'x_{ij} \\\\le  (\\\\bar{\\\\delta }_{j} + \\\\tau _{\\\\mathrm{max}})^{\\\\top}'
    """
    return TOKEN.sub(_token, unicodedata.normalize("NFD", text.strip())).strip().removesuffix("\\")


def lines_to_tex(lines: list[str]) -> str:
    """LaTeX of several formulas under each other: one a line, or three spaces apart."""
    parts = [to_tex(part) for line in lines for part in re.split(r"\s{3,}|;\s{2,}", line.strip())]
    return r"\begin{aligned}" + r" \\ ".join(f"&{part}" for part in parts) + r"\end{aligned}"


def _token(match: re.Match) -> str:
    kind = "word" if match["word"] else match.lastgroup
    found = match[kind]
    if kind == "gap":
        return found.strip() + r"\quad "
    if kind == "space":
        return " "
    if kind == "group":
        return "_{" + to_tex(re.sub(r"\bin\b", "∈", found)) + "}"
    if kind == "index":
        return "_{" + _index(found) + "}"
    if kind in ("raised", "lowered"):
        sign, table = ("^", RAISED) if kind == "raised" else ("_", LOWERED)
        return sign + "{" + "".join(map(table.__getitem__, found)) + "}"
    if kind == "mark":
        return f"{MARKS[found]}{{{_letter(match['base'])}}}"
    if kind == "word":
        called = match["call"] is not None or found in FUNCTIONS or (len(found) == 2 and found not in WORDS)
        return rf"\operatorname{{{found}}}" if called else rf"\ \text{{{found}}}\ "
    return COMPARE[found] if kind == "compare" else _letter(found)


def _index(found: str) -> str:
    """An index: letters side by side are several indices, a word is a name."""
    if len(found) > 2 and found.isascii():
        return rf"\mathrm{{{found}}}"
    return found if found.isascii() else to_tex(found)


def _letter(character: str) -> str:
    """One character: Greek letters and signs by their names, anything else as it is."""
    if character in SYMBOLS:
        return SYMBOLS[character]
    name = unicodedata.name(character, "").split()
    if name[:1] == ["GREEK"] and len(name) == 4:
        return "\\" + (name[3].lower() if name[1] == "SMALL" else name[3].capitalize()) + " "
    return character
