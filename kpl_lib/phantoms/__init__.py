"""The phantom world: synthetic images, their captions, and the tiny encoder that is trained on them.

No medical data. May import: common.
"""
