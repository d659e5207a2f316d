"""One file a family of datasets, each with a `load`; `load_dataset` finds them by name.

May import: the rest of datasets, phantoms, common.
"""
