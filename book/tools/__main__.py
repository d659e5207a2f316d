"""One door to the tools of the book: `python -m book.tools NAME ...`, from the top of the repository."""

import ast
import runpy
import sys
from pathlib import Path

COMMANDS = {
    "build": "building.build",
    "claims": "claims.statements",
    "colab": "building.colab",
    "dev-world": "research.dev_world",
    "encoder-ranking": "research.encoder_ranking",
    "few-labels": "research.few_labels",
    "glossary": "rules.glossary",
    "goals": "teaching.goals",
    "grade": "grading.grade",
    "numbers": "rules.numbers",
    "overview": "building.overview",
    "pdf": "building.pdf",
    "phantom-worlds": "research.phantom_worlds",
    "pipeline": "building.pipeline",
    "prediction-sets": "research.prediction_sets",
    "self-checks": "teaching.self_checks",
    "set-repository": "building.set_repository",
    "setup-cell": "building.setup_cell",
    "slides": "teaching.slides",
    "spread": "claims.spread",
    "student": "teaching.student",
    "train-encoder": "research.train_encoder",
}


def about(module: str) -> str:
    """The first sentence of a tool's docstring, read without importing it."""
    file = Path(__file__).parent / f"{module.replace('.', '/')}.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    return text.split("\n")[0].split(": `")[0].rstrip(".:")


def main(arguments: list[str]) -> int:
    """Run a tool with the rest of the arguments; without a name, or with another one, list them."""
    if arguments[:1] and arguments[0] in COMMANDS:
        sys.argv = [f"python -m book.tools {arguments[0]}", *arguments[1:]]
        runpy.run_module(f"book.tools.{COMMANDS[arguments[0]]}", run_name="__main__")
        return 0
    lines = [f"  {name:15} {about(module)}" for name, module in COMMANDS.items()]
    asked = not arguments or arguments[0] in ("-h", "--help")
    print("python -m book.tools NAME ...", *lines, sep="\n", file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
