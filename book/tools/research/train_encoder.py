"""Train the phantom encoder from scratch: `python -m book.tools train-encoder`.

A CLIP in small: symmetric cross-entropy between images and captions, with the logit scale fixed at 100. The run can be
stopped at any time; started again with the same work folder it goes on from its last checkpoint.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from book.tools.research import model_card
from book.tools.research.model_card import encode_tokens, to_pixels
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import atomic_path, data_dir
from kpl_lib.phantoms.corpus import Corpus, make_corpus
from kpl_lib.phantoms.model import build, write_config, write_vocabulary


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, beside the software versions."""

    seed: int = 0
    images: int = 24_000
    captions: int = 6
    steps: int = 700
    batch: int = 256
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.1
    warmup: int = 60
    clip: float = 1.0


class Run:
    """The state of a training run: model, optimiser, step. Saved and loaded as safetensors."""

    def __init__(self, recipe: Recipe, folder: Path, device: str):
        self.recipe, self.folder, self.device = recipe, folder, device
        self.model, self.tokenizer = build(folder, recipe.seed)
        self.model.to(device)
        learned = [p for p in self.model.parameters() if p.requires_grad]
        matrices, vectors = [p for p in learned if p.ndim > 1], [p for p in learned if p.ndim <= 1]
        decayed = {"params": matrices, "weight_decay": recipe.weight_decay}
        groups = [decayed, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
        self.step, self.seconds, self.losses = 0, 0.0, []

    def rate(self) -> float:
        """Learning rate of this step: linear warm-up, then a half cosine to zero."""
        recipe, step = self.recipe, self.step
        if step < recipe.warmup:
            return recipe.learning_rate * (step + 1) / recipe.warmup
        turn = np.pi * (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
        return recipe.learning_rate * 0.5 * (1 + np.cos(turn))

    def advance(self, corpus: Corpus, tokens: torch.Tensor) -> float:
        """One step on a batch that depends on (seed, step) alone."""
        rng = np.random.default_rng((self.recipe.seed, 1, self.step))
        rows = rng.choice(len(tokens), self.recipe.batch, replace=False)
        words = tokens[rows, rng.integers(tokens.shape[1], size=len(rows))].long().to(self.device)
        pixels = to_pixels(corpus.images[rows]).to(self.device)
        with torch.autocast(self.device, torch.bfloat16):
            images = F.normalize(self.model.encode_image(pixels), dim=-1)
            texts = encode_tokens(self.model, words)
            logits = self.model.logit_scale.exp() * images.float() @ texts.float().T
        truth = torch.arange(len(rows), device=self.device)
        loss = (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.step += 1
        return loss.item()

    def save(self) -> None:
        """Write the checkpoint whole or not at all."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            state = self.optimizer.state.get(parameter, {})
            tensors |= {f"optimizer.{name}.{k}": v for k, v in state.items()}
        tensors["losses"] = torch.tensor(self.losses)
        tensors["progress"] = torch.tensor([self.step, self.seconds], dtype=torch.float64)
        tensors = {k: v.cpu().contiguous().clone() for k, v in tensors.items()}
        with atomic_path(self.folder / "checkpoint.safetensors") as path:
            save_file(tensors, path, {"recipe": str(asdict(self.recipe))})

    def resume(self) -> bool:
        """Go on from the checkpoint of the work folder, if there is one of the same recipe."""
        path = self.folder / "checkpoint.safetensors"
        if not path.exists():
            return False
        with safe_open(path, "pt", device=self.device) as file:
            if file.metadata()["recipe"] != str(asdict(self.recipe)):
                raise InputError(f"{path} is of another recipe; delete it, or name another --work folder")
            saved = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        self.model.load_state_dict({k[6:]: v for k, v in saved.items() if k.startswith("model.")})
        for name, parameter in self.model.named_parameters():
            at = f"optimizer.{name}."
            state = {k.removeprefix(at): v for k, v in saved.items() if k.startswith(at)}
            if state:
                self.optimizer.state[parameter] = state | {"step": state["step"].cpu()}
        self.losses = saved["losses"].tolist()
        self.step, self.seconds = int(saved["progress"][0]), float(saved["progress"][1])
        return True


def train(recipe: Recipe, work: Path, device: str = "cpu", every: int = 100) -> Run:
    """Train to the end of `recipe`, with a checkpoint in `work` every `every` steps."""
    work.mkdir(parents=True, exist_ok=True)
    run = Run(recipe, work, device)
    if run.resume():
        print(f"going on from step {run.step} of {recipe.steps}")
    started = time.perf_counter() - run.seconds
    corpus = make_corpus(recipe.images, recipe.seed, recipe.captions)
    flat = [sentence for several in corpus.captions for sentence in several]
    tokens = run.tokenizer(flat).to(torch.int16).view(len(corpus.captions), recipe.captions, -1)
    run.model.train()
    with tqdm(total=recipe.steps, initial=run.step, desc="training", mininterval=2) as bar:
        while run.step < recipe.steps:
            run.losses.append(run.advance(corpus, tokens))
            bar.update()
            bar.set_postfix(loss=f"{np.mean(run.losses[-50:]):.3f}")
            if run.step % every == 0 or run.step == recipe.steps:
                run.seconds = time.perf_counter() - started
                run.save()
    run.model.eval()
    return run


def write(run: Run, out: Path) -> None:
    """Write the encoder as it ships: config, vocabulary, float16 weights, model card."""
    out.mkdir(parents=True, exist_ok=True)
    write_config(out)
    write_vocabulary(out)
    weights = {k: v.detach().cpu().half().contiguous() for k, v in run.model.state_dict().items()}
    with atomic_path(out / "model.safetensors") as path:
        save_file(weights, path, {"format": "pt"})
    model_card.write(run, out)


def main(
    out: Annotated[Path | None, typer.Option(help="default: data/encoders/phantom")] = None,
    work: Annotated[Path, typer.Option(help="checkpoints")] = Path("_build/phantom-training"),
    steps: Annotated[int, typer.Option(min=1)] = Recipe.steps,
    images: Annotated[int, typer.Option(min=300)] = Recipe.images,
    seed: int = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: the fastest there")] = None,
) -> None:
    """Train the embedded phantom encoder from scratch and write it."""
    recipe = Recipe(seed=seed, steps=steps, images=images)
    run = train(recipe, work, device or ("cuda" if torch.cuda.is_available() else "cpu"))
    write(run, out or data_dir() / "encoders" / "phantom")


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        raise SystemExit(f"kpl: {error}") from None
