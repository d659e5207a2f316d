"""Extensions of Sphinx: the reference, links in code, claims on pages, light pages."""
