"""Sphinx extension: the rocket opens the Colab edition, on the branch that `launch_buttons` names as `colab_branch`.

The theme knows one branch for all buttons, and the others lead to the sources.
"""

from sphinx.application import Sphinx


def open_the_edition(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Put the branch of the edition into the address of a page's Colab button."""
    options = app.config.html_theme_options
    branch = options.get("launch_buttons", {}).get("colab_branch")
    if not branch:
        return
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button.get("text") == "Colab":
                here, there = f"/blob/{options['repository_branch']}/", f"/blob/{branch}/"
                button["url"] = button["url"].replace(here, there, 1)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx, behind the theme's own buttons."""
    app.connect("html-page-context", open_the_edition, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
