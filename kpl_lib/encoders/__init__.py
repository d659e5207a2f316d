"""Images and words to unit rows, once.

An encoder (encoder), its images batch by batch (run) and kept (cache), its weights by name (load, config, weights).
Public: load_encoder, Encoder, available. May import: datasets, knowledge, features, common.
"""

from kpl_lib.encoders.encoder import Encoder, available, load_encoder

__all__ = ["Encoder", "available", "load_encoder"]
