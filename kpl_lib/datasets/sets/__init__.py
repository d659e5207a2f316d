"""One file a family of datasets, each with a `load` and, where there is something to get, its `CARDS`.

`load_dataset` finds them by name. May import: the rest of datasets, phantoms, common.
"""
