"""Sphinx extension: names of the library in the code of a chapter link to their entries in the reference.

The work is done by sphinx-codeautolink, which follows imports, calls and type hints. Three things are set right for
this book. Cells may hold lines such as `%pip`, which IPython reads. The stack of titles counts sections that have a
title, as those that sphinx-exercise makes have none. And names of this library alone are followed: other packages are
not in the reference, and some cannot be looked into.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx_codeautolink import extension
from sphinx_codeautolink.extension.block import BUILTIN_BLOCKS, CodeBlockAnalyser, clean_ipython
from sphinx_codeautolink.extension.resolve import CouldNotResolve, resolve_location
from sphinx_codeautolink.parse import Name

LIBRARY = "kpl_lib"


def leave_section(self: CodeBlockAnalyser, node: nodes.section) -> None:
    """Take the title of a section off the stack, if it has one."""
    if any(isinstance(child, nodes.title) for child in node.children):
        self.title_stack.pop()


def resolve_own(name: Name, inventory: dict) -> str | None:
    """The full name of what `name` stands for, if that can be told and starts at this library."""
    if name.import_components[0] != LIBRARY:
        raise CouldNotResolve(name.code_str)
    try:
        return resolve_location(name, inventory)
    except AttributeError as error:  # a type of another package, on the way, that cannot be looked into
        raise CouldNotResolve(name.code_str) from error


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    BUILTIN_BLOCKS["python"] = clean_ipython
    CodeBlockAnalyser.depart_section = leave_section
    extension.resolve_location = resolve_own
    app.setup_extension("sphinx_codeautolink")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
