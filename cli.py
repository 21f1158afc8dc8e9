"""The command line: `winnow COMMAND --help` explains each command, and `python cli.py` does the same as `winnow`."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import click

if not __package__:
    # Run as a file: the checkout that holds this file becomes the package `winnow`, here and in every process that this
    # one starts, also where another copy of Winnow is installed. See commands/from_checkout/winnow/__init__.py.
    _CHECKOUT = Path(__file__).resolve().parent
    _PACKAGE = str(_CHECKOUT / "commands" / "from_checkout")
    sys.path[:] = [_PACKAGE, *(folder for folder in sys.path if folder not in (str(_CHECKOUT), _PACKAGE))]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_PACKAGE, os.environ.get("PYTHONPATH"))))

from winnow import __version__  # noqa: E402
from winnow.commands import curate, deploy, embed, heads, project  # noqa: E402
from winnow.commands.groups import CommandGroups  # noqa: E402


@click.group(cls=CommandGroups, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="winnow")
def main() -> None:
    """Turn a folder of photographs into a classifier that can be trusted, without a GPU.

    IMAGES is the folder of images, with one folder per class in it. If it is left out, Winnow uses $WINNOW_IMAGES or
    the one *.winnow in the current folder. IMAGES is only read: results are stored in NAME.winnow.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # warnings of libraries are for developers, and errors in the tests
    os.environ.setdefault("LANCE_LOG", "error")


for group in (project, curate, embed, heads, deploy):
    main.add_group(group.GROUP, group.COMMANDS)

if __name__ == "__main__":
    main()
