"""Sphinx extension: keep sphinx-thebe's scripts and styles off the pages.

Jupyter Book always loads sphinx-thebe. Its script declares a constant twice, which is an error in the
console of every page, and it names a remote address. This book does not use it.
"""

from sphinx.application import Sphinx

EVENTS = ("builder-inited", "env-before-read-docs", "doctree-resolved")


def disconnect_thebe(app: Sphinx, config: object) -> None:
    """Take off what sphinx-thebe registered: its listeners on the building events, and its style sheet."""
    app.registry.css_files[:] = [file for file in app.registry.css_files if "thebe" not in file[0]]
    for event in EVENTS:
        for listener in list(app.events.listeners.get(event, [])):
            if getattr(listener.handler, "__module__", "") == "sphinx_thebe":
                app.disconnect(listener.id)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("config-inited", disconnect_thebe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
