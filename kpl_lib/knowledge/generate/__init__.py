"""Knowledge bases written by a language model: a prompt, an endpoint, its answers, a base with its origin.

Public: generate, Generation, load_prompt, known_prompts. May import: knowledge, common.
"""

from kpl_lib.knowledge.generate.prompts import known_prompts, load_prompt
from kpl_lib.knowledge.generate.write import Generation, generate

__all__ = ["Generation", "generate", "known_prompts", "load_prompt"]
