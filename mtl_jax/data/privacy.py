"""Replace ids of patients and lesions and names of files by pseudonyms in everything written.

The key is never written to an output. It is in the file named by the environment variable
MTL_JAX_KEY_FILE, or in ~/.config/mtl_jax/key, created with mode 600 when first needed. A patient
has the same pseudonym in every ingest with the same key.
"""

import contextlib
import hashlib
import hmac
import logging
import os
import re
import secrets
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath

from mtl_jax.imaging.read_image import READERS
from mtl_jax.imaging.table_vs_header import UNVERIFIED_SOURCES
from mtl_jax.imaging.value_checks import SPACING_FIELDS
from mtl_jax.io import paths
from mtl_jax.io.csv_safe import escape_formula, format_csv, reject_formula
from mtl_jax.types import Collection, InputError, LesionView

KEY_VARIABLE = "MTL_JAX_KEY_FILE"
KEEP_IDS = "keep the original ids (config.data.pseudonymise=False; mtl-jax score --keep-ids)"
# UIDs of DICOM studies, series and images, which collections use as folder names.
_UID = re.compile(r"(?<![\d.])[0-2](?:\.\d+){3,}(?!\.?\d)")
_WORD = re.compile(r"[^\W_]+")
# Sources of a pixel size in fixed words, and the text that replaces words of a user's table.
SPACING_SOURCES = (
    *SPACING_FIELDS,
    *UNVERIFIED_SOURCES,
    ".ics RESOLUTION",
    "stated by the collection",
)
SPACING_FROM_TABLE = "stated in the table"
# Parts of a message that may quote text from a file.
_QUOTED = re.compile(r"\s*\(.*\)|'.*'|\".*\"")


def key_path() -> Path:
    """Return the path of the key file. Raise InputError if the home folder is unknown."""
    named = os.environ.get(KEY_VARIABLE)
    try:
        return paths.path(named or "~/.config/mtl_jax/key")
    except InputError as error:
        if named:
            raise InputError(f"{KEY_VARIABLE}={error}") from error
        raise InputError(
            "the key of the pseudonyms cannot be stored, because the home folder is unknown (HOME"
            f" is not set): set {KEY_VARIABLE} to a file for it, or {KEEP_IDS}"
        ) from error


def load_key() -> bytes:
    """Return the secret of this user; create it if there is none. Raise InputError if it cannot."""
    path = key_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            _write_private(path, secrets.token_hex(32) + "\n", os.O_EXCL)
        secret = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "") or "not a key"
        raise InputError(
            f"{path}: the key of the pseudonyms cannot be stored there ({reason}); set"
            f" {KEY_VARIABLE} to another file, or {KEEP_IDS}"
        ) from error
    if len(secret) < 32:
        raise InputError(f"{path}: damaged: expected a key of 64 hexadecimal digits")
    return secret.encode()


def _lookup_error(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path}: the original ids of the pseudonyms cannot be written beside the key"
        f" ({error.strerror}); copy the key to a writable folder and set {KEY_VARIABLE} to it, or"
        f" {KEEP_IDS}"
    )


def lookup_name(collection: str, fingerprint: str) -> str:
    """Return the name of the file with the original ids of these shards, beside the key."""
    return f"lookup-{collection}-{fingerprint[:12]}.csv"


class Pseudonyms:
    """The written form of ids and file names: pseudonyms with a key, unchanged without one.

    A pseudonym is the first 12 hexadecimal digits of the HMAC-SHA256 of the id. DICOM UIDs are
    never written: without a key, paths and texts hold their digests. Raises InputError if two
    names would be written as the same text.
    """

    def __init__(self, secret: bytes | None) -> None:
        self._secret = secret
        self._table: dict[tuple[str, str], str] = {}
        self._originals: dict[tuple[str, str], str] = {}

    def case(self, case_id: str) -> str:
        """Return the written form of a case id."""
        return self._name("case", case_id)

    def lesion(self, case_id: str, lesion_id: str) -> str:
        """Return the written form of a lesion id."""
        return self._name("lesion", lesion_id, f"{case_id}/{lesion_id}")

    def file(self, relative: PurePath) -> str:
        """Return the written form of a path: the pseudonym keeps a known extension."""
        if self._secret is None:
            return _UID.sub(self._digest, relative.as_posix())
        return self._name("image", relative.as_posix()) + self._suffix(relative)

    def check_lookup(self) -> None:
        """Raise InputError, before the work of a command, if `save_lookup` would fail."""
        if self._secret is None:
            return
        path = key_path()
        trial = path.with_name(f".{path.name}-{os.getpid()}-trial")
        try:
            _write_private(trial, "", os.O_TRUNC)
            trial.unlink(missing_ok=True)
        except OSError as error:
            raise _lookup_error(path.parent, error) from error

    def source(self, text: str) -> str:
        """Return the source of a pixel size; other words may name a patient."""
        return text if self._secret is None or text in SPACING_SOURCES else SPACING_FROM_TABLE

    def save_lookup(self, collection: str, fingerprint: str) -> Path | None:
        """Write the table of pseudonyms and original ids beside the key, only for the user."""
        if self._secret is None:
            return None
        path = key_path().with_name(lookup_name(collection, fingerprint))
        rows = (
            (kind, name, escape_formula(original)) for (kind, original), name in self._table.items()
        )
        text = format_csv(("kind", "pseudonym", "original"), rows)
        draft = path.with_name(f".{path.name}-{os.getpid()}")
        try:
            # A complete table is not rewritten: another user may own the folder of the key.
            if path.exists() and path.read_text(encoding="utf-8") == text:
                return path
            _write_private(draft, text, os.O_TRUNC)
            draft.replace(path)
        except OSError as error:
            raise _lookup_error(path, error) from error
        return path

    def _suffix(self, path: PurePath) -> str:
        """Return the extension if it is that of an image; any other may be part of an id."""
        return path.suffix.lower() if path.suffix.lower() in READERS else ""

    def _name(self, kind: str, name: str, unique_name: str | None = None) -> str:
        """Return `name`, or with a key the pseudonym of `unique_name` (default: `name`)."""
        if self._secret is None:
            return name if kind in ("image", "item") else reject_formula(name, f"{kind} id")
        original = name if unique_name is None else unique_name
        if (kind, original) not in self._table:
            digest = hmac.digest(self._secret, f"{kind}\0{original}".encode(), "sha256")
            self._table[kind, original] = self._reject_collision(kind, digest.hex()[:12], original)
        return self._table[kind, original]

    def _digest(self, uid: re.Match) -> str:
        """Return the text that replaces a UID if names are written unchanged."""
        digest = hashlib.sha256(uid[0].encode()).hexdigest()[:12]
        return f"uid-{self._reject_collision('UID', digest, uid[0])}"

    def _reject_collision(self, kind: str, short: str, original: str) -> str:
        """Return `short`; raise InputError, without the names, if it stands for two."""
        if self._originals.setdefault((kind, short), original) != original:
            cure = f"use another key ({KEY_VARIABLE}), or rename one of them"
            if kind == "UID":
                cure = "rename one of the files"
            raise InputError(
                f"two names of the kind {kind} would both be written as {short}: {cure}"
            )
        return short


class CollectionNames(Pseudonyms):
    """The written form of the names of one collection."""

    def __init__(self, collection: Collection, secret: bytes | None) -> None:
        super().__init__(secret)
        self._root = collection.root
        self._relative_paths: dict[Path, Path] = {}
        self._words: set[str] = set()
        if secret is not None:
            for view in collection.views:
                relative = self._relative(view)
                stem = relative.with_suffix("") if self._suffix(relative) else relative
                self._hide(view.case_id, view.lesion_id, str(stem))
            for item, _ in collection.left_out:
                self._hide(item)

    def view(self, view: LesionView) -> LesionView:
        """Return the view with the written form of its ids and texts; `image_path` is unchanged."""
        case, lesion = self.case(view.case_id), self.lesion(view.case_id, view.lesion_id)
        source = self.source(view.spacing_source)
        return replace(
            view,
            case_id=case,
            lesion_id=lesion,
            note=self.text(view.note),
            spacing_source=source,
        )

    def image(self, view: LesionView) -> str:
        """Return the written form of the image's path relative to the root of the collection."""
        return self.file(self._relative(view))

    def item(self, text: str) -> str:
        """Return the written form of an item that was left out, which the source named."""
        return self._name("item", self.text(text) if self._secret is None else text)

    def text(self, text: str) -> str:
        """Return a text without the path of the collection, UIDs and hidden words."""
        text = self._without_root(text)
        if self._secret is None:
            return _UID.sub(self._digest, text)
        text, hide = _UID.sub("[hidden]", text), self._words
        return _WORD.sub(lambda word: "[hidden]" if word[0].casefold() in hide else word[0], text)

    def _without_root(self, text: str) -> str:
        """Remove the root only where it is a path: '.' and 'data' occur in many sentences."""
        root = str(self._root)
        if root == os.curdir:
            return text
        text = re.sub(rf"(?<![\w./\\-]){re.escape(root)}[/\\]", "", text)
        if self._root.is_absolute():
            return text.replace(root, "the folder")
        return re.sub(rf"^{re.escape(root)}(?=:)", "the folder", text)

    def failure(self, text: str) -> str:
        """Return a reason that may quote a header; with a key, quotations are removed."""
        return self.text(text if self._secret is None else _QUOTED.sub("", text))

    def _relative(self, view: LesionView) -> Path:
        """Return the path of the image relative to the root; it may lead out of the root."""
        path = view.image_path
        if path not in self._relative_paths:
            inside = path.is_relative_to(self._root)
            relative = path.relative_to(self._root) if inside else os.path.relpath(path, self._root)
            self._relative_paths[path] = Path(relative)
        return self._relative_paths[path]

    def _hide(self, *texts: str) -> None:
        for text in texts:
            for word in _WORD.findall(text):
                # Single letters and small numbers occur in many sentences and identify nobody.
                if len(word) >= (4 if word.isdecimal() else 2):
                    self._words.add(word.casefold())


@contextlib.contextmanager
def suppress_warnings() -> Iterator[None]:
    """Suppress warnings while files are read: DICOM readers quote header values in them."""
    logger = logging.getLogger("pydicom")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _write_private(path: Path, text: str, flag: int) -> None:
    with os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | flag, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
