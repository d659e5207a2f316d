"""Knowledge bases: for each class, what its images look like, in words.

Read and write them (base, files), say what is wrong with them (check, coverage), match them to a dataset (match), make
controls of them (controls), let a language model write them (generate). Public: KnowledgeBase, Description,
known_names, match_classes. May import: features, common.
"""

from kpl_lib.knowledge.base import KnowledgeBase
from kpl_lib.knowledge.description import Description
from kpl_lib.knowledge.files import known_names
from kpl_lib.knowledge.match import match_classes

__all__ = ["Description", "KnowledgeBase", "known_names", "match_classes"]
