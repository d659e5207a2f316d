"""Images and words to unit rows, once.

An encoder (encoder) or several as one (joined), its images batch by batch (run) and kept (cache), its weights by name
(load, config, weights). Public: load_encoder, load_encoders, Encoder, JoinedEncoder, available, imported when first
used: the table of encoders needs no torch. May import: datasets, knowledge, features, patches, common.
"""

from kpl_lib.common.lazy import lazily

HOMES = {"Encoder": "encoder", "JoinedEncoder": "joined", "available": "load"}
HOMES |= {"load_encoder": "encoder", "load_encoders": "joined"}
__all__ = list(HOMES)

__getattr__, __dir__ = lazily(__name__, HOMES)
