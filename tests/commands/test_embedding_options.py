"""The options that choose the embedding."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from winnow.commands.embedding_options import BACKENDS, embedding, embedding_and_tta
from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe


def test_backends_are_those_of_the_code() -> None:
    from winnow.embed import backends

    assert tuple(backends.BACKENDS) == BACKENDS


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], EmbeddingConfig()),
        (["--size", "96", "--alpha", "0.35"], EmbeddingConfig(Recipe(size=96, alpha=0.35))),
        (["--batch", "4", "--workers", "2"], EmbeddingConfig(batch_size=4, workers=2)),
        (["--augment", "4", "--tta", "mean"], EmbeddingConfig(augment=4, tta="mean")),
    ],
)
def test_the_command_receives_one_configuration(arguments: list[str], expected: EmbeddingConfig) -> None:
    received: list[EmbeddingConfig] = []

    @click.command()
    @embedding_and_tta
    def learn(config: EmbeddingConfig) -> None:
        received.append(config)

    done = CliRunner().invoke(learn, arguments)
    assert done.exit_code == 0, done.output
    assert received == [expected]


@pytest.mark.parametrize(("arguments", "answer"), [([], False), (["--yes"], True)])
def test_yes_stores_much_without_asking(arguments: list[str], answer: bool) -> None:
    received: list[Any] = []

    @click.command()
    @embedding
    def store(config: EmbeddingConfig) -> None:
        received.append(config.confirm_storage("Store 6 GB?"))

    CliRunner().invoke(store, arguments)
    assert received == [answer]  # nobody can be asked here
