"""What to type when a command cannot do its work: the advice that follows the fact in an error."""

from __future__ import annotations

from winnow.common.errors import InputError

# `InputError.remedy` -> what to do, with `InputError.details` filled in.
REMEDIES: dict[str, str] = {
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
    "other-heads": "install it, or choose other heads",
    "workspace": "use --workspace to put it elsewhere",
}


def with_remedy(error: InputError) -> str:
    """The message of an error and, where there is one, what to type: `MESSAGE: REMEDY`."""
    if error.remedy is None:
        return str(error)
    return f"{error}: {REMEDIES[error.remedy].format(**error.details)}"
