"""What to type when a command cannot do its work: the advice that follows the fact in an error."""

from __future__ import annotations

from winnow.common.errors import InputError

# `InputError.remedy` -> what to do, with `InputError.details` filled in. An error is printed as `FACT: REMEDY`, so a
# remedy continues the sentence: it begins with a small letter, and has no full stop. By the package that raises it, and
# within a package by name.
REMEDIES: dict[str, str] = {
    # common
    "disk-full": "make room there and do it again",
    # embed
    "augment": "use --augment {least} or more",
    "backbone-file": "--backbone takes an ONNX file that `winnow embed` exported",
    "backbone-option": "leave --{option} out",
    "backbone-without-tensorflow": "install it, or use an exported network with --backbone FILE.onnx",
    "backend-onnx": "use --backend onnx",
    "embed": "run `winnow embed` first",
    "imagenet-weights": "put the file there, or use --weights random for an untrained backbone",
    "layer-names": "python -c 'import keras; keras.applications.MobileNetV2(weights=None).summary()' lists all",
    # curate: the images folder and the workspace
    "another-workspace": "use --workspace to name another",
    "damaged-workspace": "remove it and scan again, with --labels unless the folders are the labels: that rule is lost",
    "images": "name one, as in `winnow scan photos`, or set WINNOW_IMAGES",
    "moved-images": "name their folder, `winnow scan FOLDER --workspace {folder}`",
    "name-images": "name the folder of pictures, as in `winnow scan photos`",
    "rescan": "run `winnow scan`, which reads the pictures again",
    "scan": "run `winnow scan` first",
    "score": "run `winnow score` first",
    "unreadable": "`winnow scan` lists what is wrong",
    "update": "update Winnow",
    "workspace": "use --workspace to put it elsewhere",
    "workspace-of-run": "a run lies in NAME.winnow/runs, or name that with --workspace",
    "workspace-outside": "run from another folder or use --workspace",
    # curate: labels, groups and splits
    "empty-split": "add some, or leave the division into splits to Winnow",
    "group-by": "--group-by takes a CSV file or a regular expression",
    "group-pattern": "--group-by needs an expression that matches a part of the paths",
    "labels": "--labels takes folder, parent or a CSV file",
    "save-csv": "save it again",
    "two-classes": "put the pictures of each class in a folder of its own, or use --labels FILE.csv",
    "verdicts": "the verdicts did that; `winnow undo` takes back the last ones, --as-found ignores them all",
    # curate: verdicts
    "correct": "correct that and do it again",
    "not-a-folder": "name the pictures in a folder, not the folder",
    "permissions": "check its permissions",
    "picture-paths": "paths are those of files, or as `winnow score` prints them",
    "relabel": "name a class, as in --relabel roses",
    "repair": "repair the file and run `winnow scan`",
    "scan-and-decide": "run `winnow scan` and decide again",
    "scan-new-file": "run `winnow scan` when it is new",
    "similar-path": "did you mean {similar}?",
    "whole-path": "write the whole path",
    # curate: the App
    "new-process": "use `winnow review` in a shell",
    "port": "give --port another number, or leave it out",
    # curate: folders that are written
    "another-folder": "name another folder",
    "copy": "use --copy",
    "folder-outside": "name a folder outside of them",
    "new-folder": "name a new folder",
    "nothing-to-write": "`winnow scan` it, or take verdicts back with `winnow undo`",
    "remove-or-rename": "remove it, or name another folder than {name}",
    "room-or-folder": "make room, or name another folder",
    "wait": "wait for it",
    # heads
    "other-heads": "install it, or choose other heads",
    "room-or-one-job": "make room there, or choose --jobs 1",
    # deploy
    "export-model": "`winnow export RUN` writes a model of both",
    "export-tta": "`winnow export {run} --tta none` or --tta flip exports a file, and measures what that costs",
    "labelled-folder": "name a folder of pictures with labels",
    "match-labels": "rename the folders, or use --labels FILE.csv",
    "name-model": "name a FILE.onnx that `winnow export RUN` wrote",
    "name-pictures": "name pictures, or a folder that holds some",
    "name-run": "name a folder below NAME.winnow/runs that `winnow run` or `winnow train` wrote",
    "omit-precision": "leave --precision out",
    "onnx-file": "name it FILE.onnx",
    "other-pictures": "name other pictures",
    "replace-model": "copy it again, or write it again with `winnow export RUN`",
    "train-again": "run `winnow train` again, with the same options",
    "train-compared": "run `winnow train --head {head}` and export that run",
    "train-first": "run `winnow run` or `winnow train --head lda` first",
    "which-run": "name its folder in NAME.winnow/runs, or its workspace with --workspace",
    # workflow
    "cleaning": "leave --cleaning out",
    "cleaning-vectors": "leave out --augment, --tta and finetune",
    "decide": "run `winnow review`, `winnow decide` or `winnow prune` first",
    "finetune-pool": "leave --pool none out",
    "finetune-weights": "leave --backbone out, or choose other heads",
    "fp-or-onnx": "use --backend onnx, or --precision fp32",
    "large": "--yes stores them; fewer --augment, or a smaller --size, take less",
    "network": "give --{name} instead",
    "room-or-workspace": "make room there, or use --workspace to put it elsewhere",
    "unfreeze": "give --unfreeze N, 1 to 16 blocks, instead of --layer",
    # commands
    "another-file": "correct that or name another file",
    "folders-apart": "give --sort-into and --into folders apart from each other",
    "scan-folder": "run `winnow scan {folder}` first, or use --workspace",
    "undo-folder": "run `winnow undo` in the folder where `winnow scan` was run, or use --workspace",
}


def with_remedy(error: InputError) -> str:
    """The message of an error and, where there is one, what to do: `FACT: REMEDY`."""
    if error.remedy is None:
        return str(error)
    return f"{error}: {REMEDIES[error.remedy].format(**error.details)}"
