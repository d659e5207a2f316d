"""kpl_lib: training-free classification of medical images with vision-language models (KPL and its relatives)."""

__version__ = "0.1.0"
