"""What to type when a command cannot do its work: the advice that follows the fact in an error."""

from __future__ import annotations

from winnow.common.errors import InputError

# `InputError.remedy` -> what to do, with `InputError.details` filled in.
REMEDIES: dict[str, str] = {
    "rescan": "run `winnow scan`, which reads the pictures again",
    "scan": "run `winnow scan` first",
    "unreadable": "`winnow scan` lists what is wrong",
    "embed": "run `winnow embed` first",
    "score": "run `winnow score` first",
    "backbone-file": "--backbone takes an ONNX file that `winnow embed` exported",
    "backbone-option": "leave --{option} out",
    "backbone-without-tensorflow": "install it, or use an exported network with --backbone FILE.onnx",
    "backend-onnx": "use --backend onnx",
    "augment": "use --augment {least} or more",
    "imagenet-weights": "put the file there, or use --weights random for an untrained backbone",
    "layer-names": "python -c 'import keras; keras.applications.MobileNetV2(weights=None).summary()' lists all",
    "room-or-one-job": "make room there, or choose --jobs 1",
    "other-heads": "install it, or choose other heads",
    "another-file": "correct that or name another file",
    "folders-apart": "give --sort-into and --into folders apart from each other",
    "scan-folder": "run `winnow scan {folder}` first, or use --workspace",
    "undo-folder": "run `winnow undo` in the folder where `winnow scan` was run, or use --workspace",
    "port": "give --port another number, or leave it out",
    "new-process": "use `winnow review` in a shell",
    "workspace": "use --workspace to put it elsewhere",
    "workspace-outside": "run from another folder or use --workspace",
    "another-workspace": "use --workspace to name another",
    "workspace-of-run": "a run lies in NAME.winnow/runs, or name that with --workspace",
    "damaged-workspace": "remove it and scan again, with --labels unless the folders are the labels: that rule is lost",
    "images": "name one, as in `winnow scan photos`, or set WINNOW_IMAGES",
    "name-images": "name the folder of pictures, as in `winnow scan photos`",
    "moved-images": "name their folder, `winnow scan FOLDER --workspace {folder}`",
    "labels": "--labels takes folder, parent or a CSV file",
    "group-by": "--group-by takes a CSV file or a regular expression",
    "save-csv": "save it again",
    "two-classes": "put the pictures of each class in a folder of its own, or use --labels FILE.csv",
    "empty-split": "add some, or leave the division into splits to Winnow",
    "verdicts": "the verdicts did that; `winnow undo` takes back the last ones, --as-found ignores them all",
    "disk-full": "make room there and do it again",
    "repair": "repair the file and run `winnow scan`",
    "relabel": "name a class, as in --relabel roses",
    "whole-path": "write the whole path",
    "scan-and-decide": "run `winnow scan` and decide again",
    "not-a-folder": "name the pictures in a folder, not the folder",
    "scan-new-file": "run `winnow scan` when it is new",
    "similar-path": "did you mean {similar}?",
    "picture-paths": "paths are those of files, or as `winnow score` prints them",
    "copy": "use --copy",
    "new-folder": "name a new folder",
    "another-folder": "name another folder",
    "folder-outside": "name a folder outside of them",
    "room-or-folder": "make room, or name another folder",
    "nothing-to-write": "`winnow scan` it, or take verdicts back with `winnow undo`",
    "wait": "wait for it",
    "remove-or-rename": "remove it, or name another folder than {name}",
    "update": "update Winnow",
}


def with_remedy(error: InputError) -> str:
    """The message of an error and, where there is one, what to type: `MESSAGE: REMEDY`."""
    if error.remedy is None:
        return str(error)
    return f"{error}: {REMEDIES[error.remedy].format(**error.details)}"
