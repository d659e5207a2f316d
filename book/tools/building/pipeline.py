"""The drawing of the whole method, and its small strips: `python -m book.tools pipeline` draws them.

One table of symbols serves both. A picture stands on a white card of its own: an SVG in an <img> cannot see whether
the reader has switched the page to dark. Steps 1 to 4 are those of chapter "KPL in one sitting".
"""

import re
import sys

from book.tools.building.setup_cell import ROOT
from kpl_lib.common.files import atomic_path

FOLDER = ROOT / "book" / "_static" / "pipeline"
IMAGE, TEXT, INK, SOFT = "#2f86b0", "#d9822b", "#22303a", "#55606b"  # the blue and the orange of the logo
DARK_IMAGE, DARK_TEXT, PALE, EDGE = "#1f5f7a", "#8a4b08", "#c9d2d9", "#d5dee4"
FONT = "'Source Sans 3', 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
WIDTH = 720
STEPS = {  # file of the strip -> label under its symbol, and what the strip says to a screen reader
    "knowledge.svg": ("1 describe", "step 1, the knowledge base with its descriptions of each class"),
    "encode.svg": ("encode", "the two encoders, which put images and texts into one space"),
    "choose.svg": ("2 choose", "step 2, the choice of the lines that lie nearest to the mean image"),
    "transport.svg": ("3 balance", "step 3, the pseudo labels that optimal transport balances"),
    "move.svg": ("4 fit", "step 4, the proxies that are fitted to the images by gradient steps"),
    "closed-form.svg": ("4 or solve", "step 4 in closed form, one linear system in place of the steps"),
    "judge.svg": ("judge", "the scores, and how they are judged with labels"),
    "sets.svg": ("or sets", "sets of labels in place of one label"),
}


def words(x, y, text, size=13, fill=INK, anchor="middle", bold=False) -> str:
    """One line of text; `_x_` sets x in italics."""
    inner = re.sub(r"_(\w+?)_", r'<tspan font-style="italic">\1</tspan>', text)
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" text-anchor="{anchor}"{weight}>{inner}</text>'


def box(x, y, width, height, fill, edge="none", corner=2.0, opacity=1.0) -> str:
    """A rectangle from its corner."""
    shape = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{corner:g}"'
    return f'<rect {shape} fill="{fill}" stroke="{edge}" fill-opacity="{opacity:g}"/>'


def dot(x, y, radius=3.5, fill=IMAGE) -> str:
    """A point: blue ones are images."""
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{fill}"/>'


def line(shape, colour=SOFT, width=2.0, arrow=False, dashed=False) -> str:
    """A line or a curve, with a head or dashes where asked."""
    ends = f' marker-end="url(#head-{colour[1:]})"' if arrow else ""
    ends += ' stroke-dasharray="3 3"' if dashed else ""
    return f'<path d="{shape}" fill="none" stroke="{colour}" stroke-width="{width:g}"{ends}/>'


def sheet(kept: tuple[int, ...], rest: str) -> str:
    """A page of five lines: those that are kept in orange, the others in the colour `rest`."""
    lines = [box(-13, -15 + 7 * i, 26 - 5 * (i % 2), 3.5, TEXT if i in kept else rest) for i in range(5)]
    return box(-18, -22, 36, 44, "#fff", SOFT, 3) + "".join(lines)


def cloud(points: str, mark) -> str:
    """The marks of points that are written as "x,y x,y"."""
    return "".join(mark(*map(float, point.split(","))) for point in points.split())


def space(size=1.0, mark=2.6) -> str:
    """The joint space: images and texts on one sphere, apart from each other."""

    def square(x, y):
        return box(size * x - mark, size * y - mark, 2 * mark, 2 * mark, TEXT, corner=0.5)

    images = cloud("-8,-14 0,-16 8,-12 -4,-9 4,-7", lambda x, y: dot(size * x, size * y, mark))
    texts = cloud("-7,9 0,14 8,8 -1,7 6,14", square)
    return f'<circle r="{22 * size:g}" fill="#fff" stroke="{SOFT}"/>' + images + texts


def plan() -> str:
    """The table of step 3: a row an image, a column a class, and column sums that are equal."""
    shares = ((9, 1, 1), (1, 8, 2), (2, 1, 8), (7, 2, 2), (1, 8, 1))
    cells = [
        box(-19 + 13 * c, -22 + 7 * r, 12, 6, IMAGE, corner=1, opacity=v / 10)
        for r, row in enumerate(shares)
        for c, v in enumerate(row)
    ]
    return "".join(cells) + "".join(box(-19 + 13 * c, 16, 12, 6, TEXT, corner=1) for c in range(3))


def turn() -> str:
    """Step 4: two proxies, drawn as arrows from one point, turn from the pale places to the full ones."""
    images = cloud("-14,-5 -10,-9 -9,-3 14,-5 10,-9 9,-3", lambda x, y: dot(x, y, 2.6))
    old = line("M0 20L-7 -14M0 20L7 -14", PALE, 2.4)
    return (
        old
        + line("M0 20L-19 -2M0 20L19 -2", TEXT, 2.8)
        + images
        + line("M-5 -17Q-12 -19 -17 -13M5 -17Q12 -19 17 -13", SOFT, 1.4, True)
    )


def solve() -> str:
    """A square matrix times a column gives a column."""
    square = box(-22, -11, 22, 22, "#fff", IMAGE) + line("M-22 -4H0M-22 3H0M-15 -11V11M-8 -11V11", IMAGE, 0.8)
    equals = line("M10.500 -2H15.500M10.500 2H15.500", INK, 1.4)
    return square + box(3, -11, 5, 22, TEXT) + equals + box(18, -11, 5, 22, IMAGE)


def intervals() -> str:
    """Three results with their intervals."""
    rows = ((-13, -18, 2, SOFT), (0, -8, 12, SOFT), (13, 0, 20, IMAGE))
    return "".join(
        line(f"M{low} {y}H{high}", colour, 2) + dot((low + high) / 2, y, 4.5, colour)
        for y, low, high, colour in rows
    )


def braces() -> str:
    """A set that holds two of three labels."""
    left = "M-13 -18Q-18 -18 -18 -12V-5Q-18 0 -22 0Q-18 0 -18 5V12Q-18 18 -13 18"
    right = "M13 -18Q18 -18 18 -12V-5Q18 0 22 0Q18 0 18 5V12Q18 18 13 18"
    return line(left + right, INK) + dot(-6, 0, 4.5) + dot(6, 0, 4.5, TEXT)


SYMBOLS = {
    "knowledge.svg": sheet(tuple(range(5)), TEXT),
    "encode.svg": space(),
    "choose.svg": sheet((1, 3), PALE),
    "transport.svg": plan(),
    "move.svg": turn(),
    "closed-form.svg": solve(),
    "judge.svg": intervals(),
    "sets.svg": braces(),
}


def symbol(name, x, y, scale=1.0, opacity=1.0) -> str:
    """A symbol with its middle at (x, y)."""
    shift = f"translate({x:g} {y:g})" + (f" scale({scale:g})" if scale != 1 else "")
    return (
        f'<g transform="{shift}"'
        + (f' opacity="{opacity:g}"' if opacity != 1 else "")
        + f">{SYMBOLS[name]}</g>"
    )


def badge(x, y, number) -> str:
    """The number of a step."""
    return dot(x, y, 9.5, INK) + words(x, y + 4.5, str(number), 13, "#fff", bold=True)


def inputs() -> list[str]:
    """The upper half: images and descriptions, their encoders, and the space of both."""
    photographs = [
        box(22 + 7 * i, 36 + 7 * i, 42, 42, "#fff", SOFT, 3) + dot(43 + 7 * i, 57 + 7 * i, 14, "#e6b48f")
        for i in range(3)
    ]
    lanes = [
        line(f"M{left} {y}L{right} {end}", colour, 2.4, arrow=True)
        for y, end, colour in ((64, 84, IMAGE), (172, 158, TEXT))
        for left, right, y, end in ((96, 148, y, y), (242, 346, y, end))
    ]
    towers = [
        f'<path d="M156 {y - 34}L236 {y - 20}V{y + 20}L156 {y + 34}Z" fill="{light}" stroke="{colour}"/>'
        + words(194, y - 3, name)
        + words(194, y + 13, "encoder")
        for y, name, colour, light in ((64, "image", IMAGE, "#e3f0f6"), (172, "text", TEXT, "#fbeedd"))
    ]
    return [
        *photographs,
        words(16, 113, "_N_ images, no labels", anchor="start"),
        symbol("knowledge.svg", 60, 168, 1.15),
        badge(26, 214, 1) + words(40, 218.5, "knowledge base", 14, anchor="start", bold=True),
        words(16, 236, "descriptions of each class", anchor="start"),
        *lanes,
        *towers,
        f'<g transform="translate(440 122)">{space(4.3, 5)}</g>',
        f'<circle cx="440" cy="72" r="4.5" fill="#fff" stroke="{INK}" stroke-width="2"/>'
        + words(451, 76, "_u_"),
        words(552, 66, "image vectors _X_", 14, DARK_IMAGE, "start", bold=True),
        words(552, 84, "their mean is _u_", anchor="start"),
        words(552, 117, "all of length one,", anchor="start"),
        words(552, 134, "in one joint space", anchor="start"),
        words(552, 168, "text vectors _t_", 14, DARK_TEXT, "start", bold=True),
        words(552, 186, "one a description", anchor="start"),
    ]


CARDS = (  # number, title, symbols, three lines, what comes out
    (
        2,
        "choose",
        ("choose.svg",),
        ("keep the _k_ lines of", "each class that lie", "nearest to _u_"),
        "text proxies _T_",
    ),
    (
        3,
        "balance",
        ("transport.svg",),
        ("a softmax at _τ_, then", "transport: rows images,", "columns class shares"),
        "pseudo labels _Y_",
    ),
    (
        4,
        "fit",
        ("move.svg", "closed-form.svg"),
        ("turn the proxies until", "they give back _Y_: by", "steps, or by one solve"),
        "vision proxies _W_",
    ),
    (
        0,
        "score and judge",
        ("judge.svg", "sets.svg"),
        ("cosines of _X_ and _W_:", "the largest is the label.", "Labels only judge."),
        "a label, or a set",
    ),
)


def cards() -> list[str]:
    """The lower half: the steps, and what goes from one to the next."""
    drawn = [
        line("M404 216V250H46V284", TEXT, 2.4, arrow=True),
        line("M474 216V266H116V284", IMAGE, 2.4, arrow=True),
        *(line(f"M{x} 266V284", IMAGE, 2.4, arrow=True) for x in (268, 452)),
        line("M474 266H636V284", IMAGE, 2.4, arrow=True),
    ]
    for place, (number, title, symbols, lines, out) in enumerate(CARDS):
        x = 5 + 184 * place
        drawn.append(box(x, 292, 158, 186, "#f6f9fb", EDGE, 6))
        drawn.append(badge(x + 18, 311, number) if number else "")
        drawn.append(words(x + (34 if number else 12), 316, title, 14, anchor="start", bold=True))
        middles = (x + 79,) if len(symbols) == 1 else (x + 42, x + 116)
        drawn += [symbol(name, middle, 355, 1.1) for name, middle in zip(symbols, middles, strict=True)]
        drawn.append(words(x + 79, 359, "or", fill=SOFT) if number == 4 else "")
        drawn += [words(x + 79, 404 + 16 * row, line) for row, line in enumerate(lines)]
        drawn.append(words(x + 79, 466, out, 13.5, DARK_IMAGE if number != 2 else DARK_TEXT, bold=True))
        drawn.append(line(f"M{x + 160} 355H{x + 176}", INK, 2, arrow=True) if number else "")
    return drawn


def svg(height: int, title: str, about: str, parts: list[str], edge: str = "none") -> str:
    """The file: a white card with a title and a description for those who do not see it."""
    heads = "".join(
        f'<marker id="head-{colour[1:]}" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="4" markerHeight="4" '
        f'orient="auto"><path d="M0 0L8 4L0 8Z" fill="{colour}"/></marker>'
        for colour in (IMAGE, TEXT, INK, SOFT)
    )
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-labelledby="title about" font-family="{FONT}">'
    )
    says = [f'<title id="title">{title}</title>', f'<desc id="about">{about}</desc>', f"<defs>{heads}</defs>"]
    card = box(0.5, 0.5, WIDTH - 1, height - 1, "#fff", edge, 6)
    return "\n".join([opening, *says, card, *filter(None, parts), "</svg>", ""])


def whole() -> str:
    """The drawing of the whole method."""
    about = (
        "Images go through the image encoder, and the descriptions of the knowledge base (step 1) through "
        "the text encoder. Both become vectors of length one in a joint space. Step 2 keeps the k "
        "descriptions of each class that lie nearest to the mean image; they make the text proxies. Step "
        "3 turns cosines into pseudo labels by a softmax, and balances them by optimal transport. Step 4 "
        "turns the proxies until they give back the pseudo labels, by gradient steps or by one linear "
        "solve. The cosines of images and vision proxies are the scores. Labels are used only to judge."
    )
    return svg(486, "The whole method, from images and descriptions to scores", about, inputs() + cards())


def strip(current: str) -> str:
    """All steps in one row, the current one in full colours and the others pale."""
    parts = []
    for number, (name, (label, _)) in enumerate(STEPS.items()):
        x, here = 46 + 89.5 * number, name == current
        parts.append(box(x - 42, 5, 84, 74, "#e3f0f6", IMAGE, 5) if here else "")
        parts.append(symbol(name, x, 33, 1.0 if here else 0.9, 1.0 if here else 0.4))
        parts.append(words(x, 73, label, 13, INK if here else SOFT, bold=here))
    about = "All steps of the method in one row; this one is marked."
    return svg(84, f"Where we are: {STEPS[current][1]}", about, parts, EDGE)


def pictures() -> dict[str, str]:
    """File name -> drawing."""
    return {"whole.svg": whole()} | {name: strip(name) for name in STEPS}


def main() -> int:
    """Draw all of them."""
    for name, drawing in pictures().items():
        with atomic_path(FOLDER / name) as temporary:
            temporary.write_text(drawing, encoding="utf-8")
    print(f"{FOLDER.relative_to(ROOT)}: {len(pictures())} drawings")
    return 0


if __name__ == "__main__":
    sys.exit(main())
