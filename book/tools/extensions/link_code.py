"""Sphinx extension: names of the library in the code of a chapter link to their entries in the reference.

The work is done by sphinx-codeautolink, which follows imports, calls and type hints. Some things are set right for
this book. Cells may hold lines such as `%pip`, which IPython reads. The stack of titles counts sections that have a
title, as those that sphinx-exercise makes have none. Names of this library alone are followed: other packages are not
in the reference, and some cannot be looked into. What `kpl_lib` itself gives is in the reference under its room. And
links are set after the build, each page in a process of its own.
"""

from collections.abc import Iterable
from dataclasses import replace

from docutils import nodes
from sphinx.application import Sphinx
from sphinx_codeautolink import extension
from sphinx_codeautolink.extension import block
from sphinx_codeautolink.extension.block import BUILTIN_BLOCKS, CodeBlockAnalyser, clean_ipython
from sphinx_codeautolink.extension.resolve import CouldNotResolve, resolve_location
from sphinx_codeautolink.parse import Name

import kpl_lib
from book.tools.extensions.on_all_cores import tasks

LIBRARY = "kpl_lib"
HOMES = getattr(kpl_lib, "HOMES", {})  # a toy library of the tests gives none
# Those of blocks on our pages: sphinx-codeautolink looks through every page once for each language that it knows.
LANGUAGES = {"default", "ipython3", "pycon", "python"}


def leave_section(self: CodeBlockAnalyser, node: nodes.section) -> None:
    """Take the title of a section off the stack, if it has one."""
    if any(isinstance(child, nodes.title) for child in node.children):
        self.title_stack.pop()


def resolve_own(name: Name, inventory: dict) -> str | None:
    """The full name of what `name` stands for, if that can be told and starts at this library."""
    if name.import_components[0] != LIBRARY:
        raise CouldNotResolve(name.code_str)
    name = replace(name, import_components=in_its_room(name.import_components, inventory))
    try:
        return resolve_location(name, inventory)
    except AttributeError as error:  # a type of another package, on the way, that cannot be looked into
        raise CouldNotResolve(name.code_str) from error


def in_its_room(components: list[str], known: Iterable[str]) -> list[str]:
    """The way to a name that the library itself gives: by the module that defines it or by a room, as it is known."""
    first, *rest = components
    if first == LIBRARY and rest and rest[0] in HOMES:
        home = f"{LIBRARY}.{HOMES[rest[0]]}"
        ways = sorted(way for way in known if way.startswith(LIBRARY) and way.endswith(f".{rest[0]}"))
        ways.sort(key=lambda way: (not home.startswith(way.rpartition(".")[0]), -len(way)))
        return [*ways[0].split("."), *rest[1:]] if ways else components
    return components


def set_links_at_once(app: Sphinx) -> None:
    """Give each page a process of its own, in which its links are set; what comes after the build waits for all."""
    running, link = tasks(), block.link_html
    extension.link_html = lambda *page, **how: running.add_task(lambda: link(*page, **how))
    app.connect("build-finished", lambda app, exception: running.join())


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    for language in set(BUILTIN_BLOCKS) - LANGUAGES:
        del BUILTIN_BLOCKS[language]
    BUILTIN_BLOCKS["python"] = clean_ipython
    CodeBlockAnalyser.depart_section = leave_section
    extension.resolve_location = resolve_own
    app.setup_extension("sphinx_codeautolink")
    set_links_at_once(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
