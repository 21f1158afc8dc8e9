"""Pictures in folders by label: names that any file system takes, links or copies, one picture after another."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from winnow.common.errors import InputError
from winnow.common.paths import from_text, to_text
from winnow.curate.walk import IGNORED_FOLDERS
from winnow.embed import images
from winnow.embed.images import PictureError

UNFAMILIAR = "_unfamiliar"  # folder of pictures without a label
LONGEST = 255  # bytes of a name on disk
# What some file system cannot have in a name; surrogates that stand for no byte are no text at all.
_UNFIT = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029<>:"/\\|?*\ud800-\udc7f\udd00-\udfff]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # names that Windows keeps for itself
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP)  # how file systems say that they have none


class ImageFolderWriter:
    """Puts pictures as OUT/LABEL/NAME, one at a time; what was put stays, however it ends. Not for several threads.

    Parameters: `out`, a new or empty folder, which is made; `copy`, False: symbolic links by absolute path; `among`,
    the paths that pictures are looked for in: OUT may lie in none of them that is a folder.
    Raises: InputError, also where no links can be made, and where another process makes OUT at the same time.
    """

    def __init__(self, out: Path, copy: bool, among: Sequence[Path] = ()) -> None:
        self.out = resolve_target(out, dict.fromkeys(among, "the pictures"))
        self._copy = copy
        self._folders: dict[str | None, Path] = {}
        self._was_there = self.out.is_dir()
        try:
            self.out.mkdir(parents=True, exist_ok=self._was_there)
            if not copy:
                _link(self.out / ".link", self.out)
                (self.out / ".link").unlink()
        except OSError as error:
            raise InputError(f"{self.out}: {error.strerror}: name another folder") from None

    def put(self, file: Path, label: str | None) -> Path:
        """Link or copy a picture into the folder of its label, None: `UNFAMILIAR`. Returns: where it lies now.

        A name that is taken gets a piece of the digest of the picture's path.
        Raises: PictureError when it is not there any more; InputError when the disk refuses.
        """
        source = file.absolute()
        data = _bytes(source, self._copy)
        name = f"_{file.name}" if file.name.startswith(".") else file.name
        try:
            folder = self._folders.get(label) or self._made(label)
            return write(folder, names(name, _digest(str(source))), source, data)
        except OSError as error:
            told = f"{self.out}: {error.strerror}; what lies there stays: make room, or name another folder"
            raise InputError(told) from None

    def remove(self, paths: Iterable[str]) -> None:
        """Take back what was put (manifest paths below OUT), and the folders made for it: what others put stays."""
        for path in paths:
            (self.out / from_text(path)).unlink(missing_ok=True)
        for folder in (*self._folders.values(), *([] if self._was_there else [self.out])):
            with suppress(OSError):
                folder.rmdir()

    def _made(self, label: str | None) -> Path:
        """The folder of a label, made when it is first needed; no two labels have the same one."""
        wanted = UNFAMILIAR if label is None else folder_name(label)
        for name in names(wanted, _digest(label or "")):
            if label is None or name.casefold() != UNFAMILIAR:
                with suppress(FileExistsError):
                    (self.out / name).mkdir()
                    break
        self._folders[label] = self.out / name
        return self._folders[label]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _bytes(file: Path, wanted: bool) -> bytes | None:
    """What is in a file, if wanted. Raises: PictureError when it is not there."""
    try:
        if wanted or not file.is_file():
            return images.read_bytes(file)
    except OSError as error:
        raise PictureError("unreadable", f"{error.strerror}: check the permissions") from None
    return None


def resolve_target(out: Path, apart: Mapping[Path, str]) -> Path:
    """The folder to write, resolved. Parameters: `apart`, folders that it must not lie in, and what they are.

    Raises: InputError when it is not new or empty, or lies where it must not, perhaps through a link.
    """
    try:
        out = out.expanduser().resolve()
        refuse_inside(out, apart)
        if out.exists() and not out.is_dir():
            raise InputError(f"{out} is a file: name a new folder")
        if out.is_dir() and any(out.iterdir()):
            raise InputError(f"{out} is not empty: name a new folder")
        if out == Path.cwd():
            raise InputError(f"{out} is the current folder: name a new one in it")
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{out} cannot be written to ({error}): name another folder") from None
    return out


def refuse_inside(path: Path, apart: Mapping[Path, str]) -> None:
    """Raises: InputError when a resolved path lies in one of these folders, whatever their names."""
    above = {_identity(folder) for folder in (path, *path.parents)} - {None}
    for place, name in apart.items():
        if _identity(place) in above:
            raise InputError(f"{path} would lie inside {name} ({place}): name a folder outside of them")


def _identity(folder: Path) -> tuple[int, int] | None:
    """What a folder is known by under any name; None for what cannot be looked at."""
    try:
        info = folder.stat()
    except (OSError, ValueError):
        return None
    return info.st_dev, info.st_ino


def spelt(label: str) -> str:
    """The name of the folder from which the label rule would make this label."""
    with suppress(UnicodeEncodeError):
        name = from_text(label)
        return name if to_text(name) == label else label
    return label


def folder_name(label: str) -> str:
    """A name for the folder of a label: one folder, not hidden, and possible on any system."""
    name = _UNFIT.sub("_", spelt(label)).rstrip(". ")
    hidden = not name or name.startswith(".") or name in IGNORED_FOLDERS or _DEVICE.match(name)
    return f"_{name}" if hidden else name


def names(name: str, digest: str) -> Iterator[str]:
    """A name, and others to take when it is taken: with a piece of the digest, then with a number too."""
    stem, suffix = os.path.splitext(name)
    if len(suffix) > 16:
        stem, suffix = name, ""
    for tail in itertools.chain(("", f"-{digest[:8]}"), (f"-{digest[:8]}-{n}" for n in itertools.count(2))):
        while len(os.fsencode(f"{stem}{tail}{suffix}")) > LONGEST:
            stem = stem[:-1]
        yield f"{stem}{tail}{suffix}"


def write(folder: Path, names: Iterator[str], source: Path, data: bytes | None) -> Path:
    """A link to `source`, or `data` as a file, in a folder, by the first name that is not taken. Returns: its path.

    What is a link itself is followed: the new link leads to the file, and holds when the other one goes.
    Raises: OSError; InputError where no links can be made.
    """
    source = Path(os.path.realpath(source)) if source.is_symlink() else source
    while True:
        target = folder / next(names)
        with suppress(FileExistsError):
            _link(target, source) if data is None else _write(target, data)
            return target


def _write(target: Path, data: bytes) -> None:
    stream = target.open("xb")
    try:
        with stream:
            stream.write(data)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _link(target: Path, source: Path) -> None:
    try:
        target.symlink_to(source)
    except (OSError, NotImplementedError) as error:
        if getattr(error, "winerror", None) == 1314 or getattr(error, "errno", errno.ENOSYS) in _NO_LINKS:
            raise InputError("links cannot be made there, by this system or this user: use --copy") from None
        raise
