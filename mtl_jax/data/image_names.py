"""Find the image files that a table names."""

import os
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from mtl_jax.imaging import dicom
from mtl_jax.imaging.read_image import READERS
from mtl_jax.types import InputError


def find_images(images: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the images by name, by path below the given folder, and by all ends of their path.

    A table may thus name an image as the command line does. Raises InputError if one of `images`,
    files and folders, does not exist.
    """
    by_name: dict[str, list[Path]] = {}
    for root in images:
        if not root.exists():
            raise InputError(f"{root}: no such file or folder of images")
        paths = sorted(root.rglob("*")) if root.is_dir() else [root]
        for path in filter(_is_image, paths):
            below = path.relative_to(root).as_posix() if root.is_dir() else path.name
            for name in {path.name, below}:
                by_name.setdefault(name, []).append(path)
    by_suffix: dict[str, list[Path]] = {}
    for path in {path for paths in by_name.values() for path in paths}:
        parts = Path(os.path.abspath(path)).parts
        for start in range(len(parts) - 1):
            by_suffix.setdefault(Path(*parts[start:]).as_posix(), []).append(path)
    return by_suffix | by_name


def _is_image(path: Path) -> bool:
    has_reader = path.suffix.lower() in READERS
    return path.is_file() and (has_reader or (path.name != "DICOMDIR" and dicom.is_dicom(path)))


class ImageMatcher:
    """Finds images by names as other programs and machines write them.

    A name may have backslashes, a drive or folders that do not exist here, other capitals, or no
    extension, if exactly one image fits. `notes` says how often each was accepted.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = [Path(os.path.abspath(root)) for root in roots]
        exact = find_images(self._roots)
        folded: dict[str, list[Path]] = {}
        stems: dict[str, list[Path]] = {}
        for name, paths in exact.items():
            folded.setdefault(_fold(name), []).extend(paths)
            stem = name.removesuffix(PurePosixPath(name).suffix)
            stems.setdefault(_fold(stem), []).extend(paths)
        self._indexes: tuple[tuple[str, Callable[[str], str], dict[str, list[Path]]], ...] = (
            ("", str, exact),
            ("matched regardless of capitals and Unicode form", _fold, folded),
            ("matched without their extension", _fold, stems),
        )
        self._counts: Counter[str] = Counter()

    def find(self, text: str, kind: str = "image") -> Path:
        """Return the image that `text` names, of `kind` image or mask in messages.

        Raises InputError unless exactly one fits.
        """
        parts = _parts(text)
        if not parts:
            raise InputError(f"{kind}_path is empty")
        for how, fold, index in self._indexes:
            for start in range(len(parts)):
                end = "/".join(parts[start:])
                candidates = sorted(set(index.get(fold(end), ())))
                if len(candidates) > 1:
                    raise InputError(
                        f"{kind} {text!r}: {len(candidates)} images end in {end}: name its folder"
                        " in the table, or narrow --images"
                    )
                if candidates:
                    self._check_folder(kind, text, parts[:start], end, candidates[0])
                    self._count(how, bool(start))
                    return candidates[0]
        raise InputError(
            f"{kind} {text!r}: no such {kind} in {', '.join(map(str, self._roots))}: correct it, or"
            f" add its folder, as in {self._options('FOLDER')}"
        )

    def notes(self) -> list[str]:
        """Return sentences on the names that were not exact."""
        return [f"image names {how}: {count}" for how, count in sorted(self._counts.items())]

    def _options(self, folder: str) -> str:
        """Return the options that name the folders of the images and one more."""
        return " ".join(f"--images {shlex.quote(str(one))}" for one in (*self._roots, folder))

    def _check_folder(self, kind: str, text: str, dropped: list[str], end: str, path: Path) -> None:
        """Raise InputError if both the name and the file have a folder that the other lacks.

        P1/CC.png in a table may not be read from P2/CC.png, the only file of that name.
        """
        # A folder may be given beside one above it; the images need no other folder then.
        roots = [one for one in self._roots if path.is_relative_to(one)]
        root = max(roots, key=lambda one: len(one.parts), default=path.parent)
        shown = path.relative_to(root)
        folders = [part for part in dropped if not re.fullmatch(r"[A-Za-z]:", part)]
        if folders and len(shown.parts) > len(PurePosixPath(end).parts):
            folder = path.parents[len(PurePosixPath(end).parts) - 1]
            raise InputError(
                f"{kind} {text!r}: the only {kind} of that name is {shown}, in another folder:"
                f" correct it, or give {self._options(str(folder))} if it is that one"
            )

    def _count(self, how: str, shortened: bool) -> None:
        self._counts.update([how] if how else [])
        self._counts.update(["matched without the folders of another machine"] if shortened else [])


def _fold(name: str) -> str:
    """Return a name in small letters and one Unicode form: macOS writes 'ü' as two characters."""
    return unicodedata.normalize("NFC", name).casefold()


def _parts(text: str) -> list[str]:
    parts = text.replace("\\", "/").split("/")
    return [part for part in parts if part not in ("", ".", "..")]
