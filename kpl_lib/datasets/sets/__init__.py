"""One file a family of datasets, each with a `load`; `load_dataset` finds them by name.

Where files are read, `load(card, root, split)` takes the card of the set, the folder with the files, and a part.

May import: the rest of datasets, phantoms, common.
"""
