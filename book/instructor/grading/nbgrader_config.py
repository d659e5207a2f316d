"""What nbgrader is told for the two assignments: copy this file and `source/` into a course of your own."""

from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbgrader.preprocessors import ClearHiddenTests, GetGrades

c = get_config()  # noqa: F821 (nbgrader defines it)
c.ClearSolutions.code_stub = {
    "python": 'raise NotImplementedError("write your code here")'
}
c.ClearSolutions.text_stub = ""
c.Execute.timeout = 30  # seconds for a cell; a call of a function has its own ten
c.GenerateFeedback.preprocessors = [
    GetGrades,
    ClearHiddenTests,
    CSSHTMLHeaderPreprocessor,
]  # no hidden test is shown
