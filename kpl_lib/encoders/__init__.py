"""Images and words to unit rows, once.

An encoder (encoder), its images batch by batch (run) and kept (cache), its weights by name (load, config, weights).
Public: load_encoder, Encoder, available, imported when first used: the table of encoders needs no torch. May import:
datasets, knowledge, features, common.
"""

from kpl_lib.common.lazy import lazily

HOMES = {"Encoder": "encoder", "available": "load", "load_encoder": "encoder"}
__all__ = list(HOMES)

__getattr__, __dir__ = lazily(__name__, HOMES)
