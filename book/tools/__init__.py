"""The tools of the book, in rooms; the library never knows them. `python -m book.tools` lists the commands.

building (the site, the PDF, the setup cell), claims (statements against measurements), extensions (of Sphinx), grading
(assignments), rules (what chapters keep to), teaching (questions, slides, the student edition).
"""
