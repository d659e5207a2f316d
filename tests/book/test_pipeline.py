"""The drawing of the method and its strips: as their tool draws them, and readable at the width of a page."""

import re
import xml.etree.ElementTree as ET

import pytest

from book.tools.building import pipeline

PICTURES = pipeline.pictures()
SHOWN = 680 / pipeline.WIDTH  # a page gives a figure 700 pixels, less the padding of its card in dark mode
SVG = "{http://www.w3.org/2000/svg}"


def light(colour: str) -> float:
    """Relative luminance of #rrggbb or #rgb (WCAG 2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)


def test_the_files_are_what_the_tool_draws():
    kept = {path.name: path.read_text(encoding="utf-8") for path in pipeline.FOLDER.iterdir()}
    assert kept == PICTURES, "run `python -m book.tools pipeline`"


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_has_a_role_a_title_a_description_and_text_that_can_be_read(name):
    drawing = ET.fromstring(PICTURES[name])
    assert drawing.get("role") == "img"
    for number, identity in enumerate(drawing.get("aria-labelledby").split()):
        assert drawing[number].get("id") == identity and len(drawing[number].text) > 20
    texts = list(drawing.iter(f"{SVG}text"))
    assert texts and min(float(text.get("font-size")) * SHOWN for text in texts) >= 12
    for text in texts:
        grounds = ("#22303a",) if text.get("fill") == "#fff" else ("#fff", "#f6f9fb", "#e3f0f6", "#fbeedd")
        assert min(contrast(text.get("fill"), ground) for ground in grounds) >= 4.5


@pytest.mark.parametrize("name", pipeline.STEPS)
def test_a_strip_marks_its_step_and_no_other(name):
    drawing = ET.fromstring(PICTURES[name])
    assert float(drawing.get("height")) <= 90
    bold = [text.text for text in drawing.iter(f"{SVG}text") if text.get("font-weight")]
    assert bold == [pipeline.STEPS[name][0]]
    opacities = [group.get("opacity") for group in drawing.iter(f"{SVG}g")]
    assert opacities.count(None) == 1 and list(pipeline.STEPS)[opacities.index(None)] == name


def test_the_numbers_of_the_steps_are_those_of_the_chapter(root):
    chapter = (root / "book" / "chapters" / "02_kpl_in_one_sitting.ipynb").read_text(encoding="utf-8")
    assert set(re.findall(r"## Step (\d)", chapter)) == {"1", "2", "3", "4"}
    numbers = re.findall(r'font-size="13" fill="#fff"[^>]*>(\d)<', PICTURES["whole.svg"])
    assert sorted(numbers) == ["1", "2", "3", "4"]
