"""The demo: everything on pictures that are drawn for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from winnow.choice import Vectors
from winnow.curate.workspace import Workspace
from winnow.embed.recipe import Recipe
from winnow.embed.weights import WeightsMissing
from winnow.record import Listener
from winnow.workflow import Division, run


def demo(workspace: Workspace, listener: Listener, *, repeats: int = 10, seed: int = 0) -> dict[str, Any]:
    """`run` on drawn pictures; where the ImageNet weights cannot be had, with an untrained backbone, and it says so."""
    try:
        return run(workspace, Vectors(), listener, repeats=repeats, division=Division(seed))
    except WeightsMissing as error:
        bar = "=" * 100
        listener.say(
            f"{bar}\nTHE BACKBONE IS UNTRAINED: {error}.\nScores below say nothing of what Winnow can do.\n{bar}"
        )
        return run(workspace, Vectors(Recipe(weights="random")), listener, repeats=repeats, division=Division(seed))


def draw(folder: Path, per_class: int, seed: int, listener: Listener) -> None:
    """Draw the pictures of the demo, unless they are there already. Raises: InputError when other files are."""
    from winnow.curate import sample

    if folder.is_dir() and sample.truth_path(folder).is_file():
        listener.say(f"{folder} was drawn before and is used again; delete it to draw anew")
        return
    with listener.progress("Drawing") as told:
        sample.draw(folder, per_class=per_class, seed=seed, on_picture=told)
