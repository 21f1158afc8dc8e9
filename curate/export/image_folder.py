"""Write pictures to one folder per label, as links or copies, under names that any file system accepts."""

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
LONGEST = 255  # bytes of a file name
# Characters that some file system does not allow in a name, and surrogates that stand for no byte.
_UNFIT = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029<>:"/\\|?*\ud800-\udc7f\udd00-\udfff]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # names that Windows reserves
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP)  # errors of file systems without links


class ImageFolderWriter:
    """Writes pictures as OUT/LABEL/NAME, one at a time; written ones stay if a later one fails. Not thread-safe.

    Parameters: `out`, a new or empty folder, which is created; `copy`, False: symbolic links by absolute path;
    `sources`, the paths that pictures are read from: OUT must be in none of these folders.
    Raises: InputError, also where links are not possible, and where another process creates OUT at the same time.
    """

    def __init__(self, out: Path, copy: bool, sources: Sequence[Path] = ()) -> None:
        self.out = resolve_target(out, dict.fromkeys(sources, "the pictures"))
        self._copy = copy
        self._folders: dict[str | None, Path] = {}
        self._existed = self.out.is_dir()
        try:
            self.out.mkdir(parents=True, exist_ok=self._existed)
            if not copy:
                _link(self.out / ".link", self.out)
                (self.out / ".link").unlink()
        except OSError as error:
            raise InputError(f"{self.out}: {error.strerror}", remedy="another-folder") from None

    def add(self, file: Path, label: str | None) -> Path:
        """Link or copy a picture into the folder of its label (None: `UNFAMILIAR`). Returns: the new path.

        A name that is already taken gets a piece of the digest of the picture's path.
        Raises: PictureError when the file no longer exists; InputError for errors of the disk.
        """
        source = file.absolute()
        data = _check_and_read(source, self._copy)
        name = f"_{file.name}" if file.name.startswith(".") else file.name
        try:
            folder = self._folders.get(label) or self._create_folder(label)
            return write_new(folder, candidate_names(name, _digest(str(source))), source, data)
        except OSError as error:
            message = f"{self.out}: {error.strerror}; the pictures written so far stay"
            raise InputError(message, remedy="room-or-folder") from None

    def remove(self, paths: Iterable[str]) -> None:
        """Remove added pictures (manifest paths below OUT) and the folders created for them; other files stay."""
        for path in paths:
            (self.out / from_text(path)).unlink(missing_ok=True)
        for folder in (*self._folders.values(), *([] if self._existed else [self.out])):
            with suppress(OSError):
                folder.rmdir()

    def _create_folder(self, label: str | None) -> Path:
        """Create the folder of a label; no two labels share one."""
        preferred = UNFAMILIAR if label is None else safe_folder_name(label)
        for name in candidate_names(preferred, _digest(label or "")):
            if label is None or name.casefold() != UNFAMILIAR:
                with suppress(FileExistsError):
                    (self.out / name).mkdir()
                    break
        self._folders[label] = self.out / name
        return self._folders[label]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _check_and_read(file: Path, copy: bool) -> bytes | None:
    """The bytes of a file, None when they are not to be copied. Raises: PictureError when it does not exist."""
    try:
        if copy or not file.is_file():
            return images.read_bytes(file)
    except OSError as error:
        raise PictureError("unreadable", f"{error.strerror}: check the permissions") from None
    return None


def resolve_target(out: Path, forbidden: Mapping[Path, str]) -> Path:
    """Resolve the path of a folder to write.

    Parameters: `forbidden`, folders that it must not be in -> what they are.
    Raises: InputError when the folder is not new or empty, or is in a forbidden folder, also through a link.
    """
    try:
        out = out.expanduser().resolve()
        refuse_inside(out, forbidden)
        if out.exists() and not out.is_dir():
            raise InputError(f"{out} is a file", remedy="new-folder")
        if out.is_dir() and any(out.iterdir()):
            raise InputError(f"{out} is not empty", remedy="new-folder")
        if out == Path.cwd():
            raise InputError(f"{out} is the current folder", remedy="new-folder")
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{out} cannot be written to ({error})", remedy="another-folder") from None
    return out


def refuse_inside(path: Path, forbidden: Mapping[Path, str]) -> None:
    """Raise InputError when a resolved path is in a forbidden folder, by whatever name. `forbidden`: folder -> name."""
    parents = {_identity(folder) for folder in (path, *path.parents)} - {None}
    for folder, name in forbidden.items():
        if _identity(folder) in parents:
            raise InputError(f"{path} would lie inside {name} ({folder})", remedy="folder-outside")


def _identity(folder: Path) -> tuple[int, int] | None:
    """Device and inode, which identify a folder under any name; None when it cannot be accessed."""
    try:
        info = folder.stat()
    except (OSError, ValueError):
        return None
    return info.st_dev, info.st_ino


def folder_of_label(label: str) -> str:
    """The name of the folder from which the label rule derives this label: its inverse."""
    with suppress(UnicodeEncodeError):
        name = from_text(label)
        return name if to_text(name) == label else label
    return label


def safe_folder_name(label: str) -> str:
    """A name for the folder of a label that is one path component, not hidden, and valid on any system."""
    name = _UNFIT.sub("_", folder_of_label(label)).rstrip(". ")
    hidden = not name or name.startswith(".") or name in IGNORED_FOLDERS or _DEVICE.match(name)
    return f"_{name}" if hidden else name


def candidate_names(name: str, digest: str) -> Iterator[str]:
    """Yield a file name, then alternatives: with a piece of the digest, then with a number as well."""
    stem, suffix = os.path.splitext(name)
    if len(suffix) > 16:
        stem, suffix = name, ""
    for addition in itertools.chain(("", f"-{digest[:8]}"), (f"-{digest[:8]}-{n}" for n in itertools.count(2))):
        while len(os.fsencode(f"{stem}{addition}{suffix}")) > LONGEST:
            stem = stem[:-1]
        yield f"{stem}{addition}{suffix}"


def write_new(folder: Path, names: Iterator[str], source: Path, data: bytes | None) -> Path:
    """Write `data`, or for None a link to `source`, into a folder under the first free name. Returns: its path.

    A source that is a link is followed, so that the new link stays valid when the other one is removed.
    Raises: OSError; InputError where links are not possible.
    """
    source = Path(os.path.realpath(source)) if source.is_symlink() else source
    while True:
        target = folder / next(names)
        with suppress(FileExistsError):
            _link(target, source) if data is None else _write_bytes(target, data)
            return target


def _write_bytes(target: Path, data: bytes) -> None:
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
            raise InputError("this system or this user cannot create links there", remedy="copy") from None
        raise
