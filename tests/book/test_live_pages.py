"""Live figures of the built book in Chromium and in JupyterLab, with no network: `make test-site`, after `make book`.

Each control is moved by keyboard, and the marks change. The numbers a figure shows are worked out once more in Python
from the data that the page carries, at the value that its slider shows: `SHOWN` below has an entry for each figure.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nbformat
import numpy as np
import pytest
from browser import SITE
from playwright.sync_api import Locator, expect

pytestmark = pytest.mark.browser
MIME = "application/vnd.vegalite.v5+json"
WAIT = 30_000  # milliseconds for a figure to be drawn on a busy machine


def pages() -> list[str]:
    """Pages of the site with a live figure."""
    found = [p for p in sorted(SITE.rglob("*.html")) if 'class="live-figure' in p.read_text(encoding="utf-8")]
    return [path.relative_to(SITE).as_posix() for path in found]


def figures(page) -> dict[str, Locator]:
    """The live figures of an open page by the name of their figure, once they are drawn."""
    drawn = page.locator("figure:has(.live-figure)")
    for figure in drawn.all():
        expect(figure.locator(".live-figure.ready svg.marks").first).to_be_visible(timeout=WAIT)
    return {figure.get_attribute("id"): figure for figure in drawn.all()}


def rows_of(figure: Locator, *fields: str) -> list[dict]:
    """The rows that a figure carries and that have all these fields; `alt.InlineData` keeps each of them once."""
    sets = json.loads(figure.locator("script").text_content())["datasets"].values()
    return [row for rows in sets for row in rows if set(fields) <= set(row)]


def control(figure: Locator, name: str) -> Locator:
    return figure.locator(f".vega-bindings [name='{name}']")


def value(figure: Locator, name: str) -> float:
    return float(control(figure, name).input_value())


def texts(figure: Locator) -> list[str]:
    """What the text marks of a figure say, in the order in which they are drawn; axes and titles apart."""
    return figure.locator("svg .mark-text.role-mark text").all_text_contents()


def numbers(figure: Locator) -> list[float]:
    """The text marks of a figure that are numbers."""
    return [float(text.replace("−", "-").rstrip("%")) for text in texts(figure)]


def move(one: Locator) -> None:
    """Move a control by keyboard: a slider by some steps, a menu to its next entry, a box to its other state."""
    one.focus()
    if one.get_attribute("type") == "range":
        at_end = one.input_value() == one.get_attribute("max")
        for _ in range(3):
            one.press("ArrowLeft" if at_end else "ArrowRight")
    else:
        one.press("Space" if one.get_attribute("type") == "checkbox" else "ArrowDown")


def move_by_mouse(one: Locator) -> None:
    """Move a control as a mouse does. JupyterLab keeps the arrow keys for itself while a cell is chosen."""
    if one.get_attribute("type") == "range":
        box = one.bounding_box()
        one.click(position={"x": 0.8 * box["width"], "y": box["height"] / 2})
    elif one.get_attribute("type") == "checkbox":
        one.click()
    else:
        one.select_option(index=1)


def marks(figure: Locator) -> str:
    return figure.locator("svg.marks").first.inner_html()


def temperature(figure: Locator) -> tuple[list[float], list[float]]:
    scores = np.array([row["cosine"] for row in rows_of(figure, "cosine")])
    powers = np.exp((scores - scores.max()) / 10 ** value(figure, "power_of_ten"))
    return numbers(figure), list(powers / powers.sum())


def half_steps(figure: Locator) -> tuple[list[float], list[float]]:
    cells = rows_of(figure, "logit")
    table = np.exp(np.array([row["logit"] for row in cells]).reshape(6, 3))
    first, second = value(figure, "first"), value(figure, "second")
    table /= table.sum(axis=1, keepdims=True)
    for step in range(1, int(value(figure, "step")) + 1):
        sums = table.sum(axis=0 if step % 2 else 1, keepdims=True)
        table = table / sums * (np.array([first, second, 6 - first - second]) if step % 2 else 1)
    return numbers(figure), [*table.sum(axis=0), *table.ravel(), *table.sum(axis=1)]


def ridge_border(figure: Locator) -> tuple[list[float], list[float]]:
    rows = rows_of(figure, "x", "class")
    points = np.array([[row["x"], row["y"]] for row in rows])
    signs = np.array([2 * row["class"] - 1 for row in rows])
    ridge, means = 10 ** value(figure, "power_of_ten"), signs @ points
    normal = np.linalg.solve(points.T @ points / len(rows) + ridge * np.eye(2), means)
    sine = abs(normal @ means) / np.linalg.norm(normal) / np.linalg.norm(means)
    right = 100 * np.mean(np.sign(points @ normal) == signs)
    return numbers(figure), [ridge, round(np.degrees(np.arcsin(sine)), 1), round(right, 1)]


def leaderboard(figure: Locator) -> tuple[list[float], list[float]]:
    chosen = {name: control(figure, name).input_value() for name in ("images", "encoder", "text", "metric")}
    three = ("first", "second", "third")
    kept = {"three": three, "first": ("first", "labels")}.get(chosen["encoder"], (chosen["encoder"],))
    runs: dict[str, dict[str, list]] = {}  # of each method and encoder
    for row in rows_of(figure, "m", "e"):
        if chosen["images"] in row["s"] and row["t"] in ("", chosen["text"]) and row["e"] in (*kept, "real"):
            carried = row[
                chosen["metric"]
            ]  # value and interval, then those of the difference, where there are any
            run = [*carried, *[None] * (6 - len(carried))]
            runs.setdefault(row["m"], {}).setdefault(row["e"], []).append(run)
    means = [
        np.mean([np.mean([run[0] for run in found]) for found in each.values()]) for each in runs.values()
    ]
    gaps = [[run[3] for found in each.values() for run in found] for each in runs.values()]
    expected = [*means, *(min(gap) for gap in gaps if None not in gap)]
    shown = [text.replace("−", "-") for text in texts(figure)]
    found = [float(text) for text in shown if re.fullmatch(r"[-+]?\d+\.\d", text)]
    return sorted(found), sorted(np.floor(10 * np.array(expected) + 0.500001) / 10)


def gap_map(figure: Locator) -> tuple[list[float], list[float]]:
    share, chosen = value(figure, "share"), control(figure, "chosen").input_value()
    rows = [row for row in rows_of(figure, "maps") if chosen in ("all sets", row["set"])]
    images = [row for row in rows if row["kind"] == "image"]
    counts = [Counter(row["class"] for row in rows if row["kind"] == kind) for kind in ("image", "text")]
    left = []
    for name in dict.fromkeys(row["set"] for row in rows):
        paths = {
            kind: [row for row in rows if (row["set"], row["kind"]) == (name, kind)]
            for kind in ("image", "text")
        }
        paths = {
            kind: np.mean([row["maps"][control(figure, "picture").input_value()] for row in found], axis=0)
            for kind, found in paths.items()
        }
        apart = np.linalg.norm(paths["image"] - paths["text"], axis=1)
        left.append(apart[int(share * (len(apart) - 1) + 0.5)] / apart[0])
    truth = np.array([row["label"] for row in images])
    first = np.array([np.argmax(row["score"]) for row in images])
    texts_moved = np.array([np.argmax(np.add(row["score"], share * row["along"])) for row in images])
    images_moved = np.array(
        [np.argmax(np.subtract(row["score"], share * np.array(row["offset"]))) for row in images]
    )
    parts = [1 - share, np.mean(left)]
    parts += [np.mean(found != first) for found in (texts_moved, images_moved)]
    parts += [np.mean(found == truth) for found in (texts_moved, images_moved)]
    parts = [round(100 * part, 1) for part in parts]
    return numbers(figure), [*counts[0].values(), *counts[1].values(), *parts]


def proxy_path(figure: Locator) -> tuple[list[float], list[float]]:
    run = control(figure, "run").locator("option:checked").text_content()
    frames = rows_of(figure, "moment")
    now = [row for row in frames if row["run"] == run and row["moment"] == value(figure, "moment")]
    cosine = np.mean([row["x"] for row in now])
    longest = 1 / now[0]["length"]
    return numbers(figure), [now[0]["step"], cosine, round(now[0]["right"], 1), round(longest, 1)]


def kept_lines(figure: Locator) -> tuple[list[float], list[float]]:
    k, chosen = int(value(figure, "k")), control(figure, "chosen").input_value()
    lines = sorted((row["place"], row["kind"]) for row in rows_of(figure, "place") if row["class"] == chosen)
    right = [
        row["accuracy"] for row in rows_of(figure, "accuracy") if (row["class"], row["k"]) == (chosen, k)
    ]
    seen = [100 * np.mean([kind == "can be seen" for _, kind in part]) for part in (lines[:k], lines)]
    shown = [text for text in texts(figure) if re.fullmatch(r"\d+\.\d", text)]
    assert len(texts(figure)) == len(lines) + len(shown)
    return [float(text) for text in shown], list(np.floor(10 * np.array([*right, *seen]) + 0.500001) / 10)


def set_sizes(figure: Locator) -> tuple[list[float], list[float]]:
    asked, way = value(figure, "asked"), control(figure, "way").input_value()
    sets = [row for row in rows_of(figure, "classes", "sets") if (row["way"], row["p"]) == (way, asked)]
    (curve,) = (row for row in rows_of(figure, "reached") if (row["way"], row["p"]) == (way, asked))
    assert abs(sum(row["classes"] * row["sets"] for row in sets) / 100 - curve["size"]) < 0.02
    return numbers(figure), [row["sets"] for row in sets] + [curve["reached"], curve["size"]]


def screening(figure: Locator) -> tuple[list[float], list[float]]:
    prevalence, threshold = value(figure, "prevalence") / 100, value(figure, "threshold") / 100
    cut = np.log(threshold / (1 - threshold))
    if control(figure, "told").input_value() == "true":
        cut -= np.log(prevalence / (1 - prevalence))
    rows = [
        row for row in rows_of(figure, "l", "sick", "healthy") if row["l"] > np.round(10 * cut) / 10 - 0.05
    ]
    found, alarmed = (sum(row[kind] for row in rows) for kind in ("sick", "healthy"))
    sick = round(1000 * prevalence)
    counts = [np.floor(x + 0.500001) for x in (sick * found, (1000 - sick) * alarmed)]
    ppv = prevalence * found / (prevalence * found + (1 - prevalence) * alarmed)
    counted = [counts[0], sick - counts[0], counts[1], 1000 - sick - counts[1]]
    return numbers(figure), counted + [round(100 * share, 1) for share in (found, 1 - alarmed, ppv)]


#: The name of a figure -> what gives the numbers that it shows, and the same from Python.
SHOWN = {
    "fig-unsure-price": set_sizes,
    "fig-unsure-screening": screening,
    "fig-text-kept": kept_lines,
    "fig-vision-cosines": proxy_path,
    "fig-gap-map": gap_map,
    "fig-benchmark-leaderboard": leaderboard,
    "fig-primer-ridge-borders": ridge_border,
    "fig-primer-clip-temperature": temperature,
    "fig-primer-transport-steps": half_steps,
}


def test_every_control_moves_marks_and_numbers_are_those_of_python(chrome, base):
    seen = set()
    page = chrome.new_page(viewport={"width": 1280, "height": 800})
    for name in pages():
        page.goto(f"{base}/{name}", wait_until="load")
        for label, figure in figures(page).items():
            seen.add(label)
            controls = figure.locator(".vega-bindings input, .vega-bindings select").all()
            assert controls, f"{label}: nothing to move"
            for one in controls:
                before = marks(figure)
                move(one)
                page.wait_for_timeout(300)
                assert marks(figure) != before, f"{label}: {one.get_attribute('name')} moves nothing"
                shown, expected = SHOWN[label](figure)
                assert len(shown) == len(expected) > 0, label
                assert np.allclose(shown, expected, atol=1e-3), f"{label}: {shown} is not {expected}"
    page.close()
    assert seen == set(SHOWN)


def test_text_shows_before_the_scripts_and_a_picture_without_them(chrome, base):
    context = chrome.new_context(java_script_enabled=False)
    page = context.new_page()
    for name in pages():
        page.goto(f"{base}/{name}", wait_until="load")
        for figure in page.locator("figure:has(.live-figure)").all():
            expect(figure.locator("img")).to_be_visible()
            assert len(figure.locator("img").get_attribute("alt")) > 40
            expect(figure.locator(".live-chart")).not_to_be_visible()
        assert page.locator("script[src*='live.js'][defer]").count() == 1
    context.close()


def test_print_shows_the_picture(chrome, base):
    page = chrome.new_page()
    page.goto(f"{base}/{pages()[0]}", wait_until="load")
    figure = next(iter(figures(page).values()))
    expect(figure.locator("img")).not_to_be_visible()
    page.emulate_media(media="print")
    expect(figure.locator("img")).to_be_visible()
    expect(figure.locator("svg.marks")).not_to_be_visible()
    page.close()


def test_only_pages_with_live_figures_load_vega(base):
    with_script = [p for p in SITE.rglob("*.html") if "live.js" in p.read_text(encoding="utf-8")]
    assert {p.relative_to(SITE).as_posix() for p in with_script} == set(pages())


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab with one notebook that holds the live figures of all pages as their chapters left them."""
    folder = tmp_path_factory.mktemp("lab")
    cells = {}  # by the name of the figure: the cache may hold an older run of a page, too
    for path in sorted((SITE.parent / ".jupyter_cache").rglob("base.ipynb")):
        for cell in nbformat.read(path, 4).cells:
            kept = [out for out in cell.get("outputs", []) if MIME in out.get("data", {})]
            if kept:
                name = cell.metadata["mystnb"]["figure"]["name"]
                cells[name] = nbformat.v4.new_code_cell("", outputs=kept)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(
        nbformat.v4.new_notebook(cells=list(cells.values()), metadata=kernel), folder / "live.ipynb"
    )
    whole = folder / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    whole.parent.mkdir(parents=True)
    whole.write_text('{"windowingMode": "none"}')  # every cell stays in the page while it scrolls
    settings = {
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
    }
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--port=0"]
    command += ["--ServerApp.token=", "--ServerApp.password=", f"--ServerApp.root_dir={folder}"]
    command += [f"--ServerApp.info_file={folder / 'server.json'}", "--ServerApp.ip=127.0.0.1"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log)
    try:
        yield address_of(server, folder), list(cells)
    finally:
        server.terminate()
        server.wait(30)


def address_of(server: subprocess.Popen, folder: Path) -> str:
    """Where a starting server listens."""
    for _ in range(600):
        log = (folder / "log").read_text()
        found = [
            word for line in log.splitlines() for word in line.split() if word.startswith("http://127.0.0.1:")
        ]
        if found:
            return found[0].split("/lab")[0].rstrip("/")
        assert server.poll() is None, log
        subprocess.run(["sleep", "0.1"], check=True)
    raise AssertionError(log)


def test_figures_answer_in_jupyterlab_too(chrome, lab):
    address, names = lab
    page = chrome.new_page(viewport={"width": 1400, "height": 1000})
    page.route(lambda url: not url.startswith(address), lambda route: route.abort())
    page.goto(f"{address}/lab/tree/live.ipynb", wait_until="load")
    charts = page.locator(".jp-OutputArea-output:has(.vega-bindings)")
    expect(charts).to_have_count(len(names), timeout=WAIT)
    expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']")).to_be_visible(timeout=WAIT)
    for name, chart in zip(names, charts.all(), strict=True):
        chart.scroll_into_view_if_needed(timeout=WAIT)
        for one in chart.locator(".vega-bindings input, .vega-bindings select").all():
            before = chart.screenshot()
            move_by_mouse(one)
            page.wait_for_timeout(300)
            assert chart.screenshot() != before, f"{name}: {one.get_attribute('name')} moves nothing"
    page.close()
    assert set(names) == set(SHOWN)
