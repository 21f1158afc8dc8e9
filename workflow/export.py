"""Export the trained head of a run: find its backbone and pictures, and let `deploy` build and check the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from winnow.common.progress import Reporter
from winnow.curate import manifest
from winnow.curate.workspace import open_workspace
from winnow.workflow import embedding

if TYPE_CHECKING:
    from winnow.deploy.export import ExportReport
    from winnow.deploy.source import ExportOptions
    from winnow.embed.backbone import Backbone


def export_run(
    run: Path,
    out: Path | None,
    options: ExportOptions,
    reporter: Reporter,
    workspace: Path | None = None,
    backbone: Backbone | None = None,
) -> ExportReport:
    """Write the ONNX file of a run and its model card.

    Parameters: `run`, a run folder with a trained head; `out`, None: `model.onnx` in it, with a suffix that names
    the options; `workspace`, None: the one that the run lies in; `backbone`,
    that of the vectors of the run, where it is resolved already.
    Raises: InputError when the run, its pictures, vectors or backbone are gone, or the file fails a check.
    """
    from winnow.deploy.export import export
    from winnow.deploy.source import Source
    from winnow.deploy.trained_head import read_run

    trained = read_run(run)
    home = open_workspace(workspace or run.resolve().parent.parent)
    files = manifest.files_by_id(home)
    if backbone is None:
        backbone = embedding.resolve_backbone(home, trained.embedding, files, reporter.message)
    source = Source.of(trained, home, backbone, files, options, reporter)
    return export(source, out or run / f"model{options.suffix}.onnx")
