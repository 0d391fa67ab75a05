"""What patients, lesions and files are called in all that is written. Reads no images.

The key lies outside every output: in the file that the environment variable MTL_JAX_KEY_FILE names,
else in ~/.config/mtl_jax/key, made with mode 600 when first needed. The same patient has the same
pseudonym in every ingest with the same key.
"""

import contextlib
import csv
import hashlib
import hmac
import io
import logging
import os
import re
import secrets
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mtl_jax.cells import harmless, refuse_formula
from mtl_jax.imaging.read import READERS
from mtl_jax.nouns import Collection, InputError, LesionView

KEY_VARIABLE = "MTL_JAX_KEY_FILE"
# As DICOM writes the identifiers of studies, series and images, which collections name folders by.
_UID = re.compile(r"(?<![\d.])[0-2](?:\.\d+){3,}(?!\.?\d)")
_WORD = re.compile(r"[^\W_]+")
# Where a message of ours may quote what somebody else wrote.
_QUOTED = re.compile(r"\s*\(.*\)|'.*'|\".*\"")


def key_path() -> Path:
    return Path(os.environ.get(KEY_VARIABLE) or Path.home() / ".config" / "mtl_jax" / "key")


def key() -> bytes:
    """The secret of this user, made where there is none yet. InputError: it cannot be kept."""
    path = key_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            _write_private(path, secrets.token_hex(32) + "\n", os.O_EXCL)
        secret = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "") or "not a key"
        raise InputError(
            f"{path}: the key of the pseudonyms cannot be kept there ({reason}); set {KEY_VARIABLE}"
            " to another file, or data.pseudonymise to False"
        ) from error
    if len(secret) < 32:
        raise InputError(f"{path}: damaged: the key of the pseudonyms is 64 hexadecimal digits")
    return secret.encode()


def lookup_name(collection: str, fingerprint: str) -> str:
    """The file of the ids behind the pseudonyms of these shards; it stands beside the key."""
    return f"lookup-{collection}-{fingerprint[:12]}.csv"


class Names:
    """The names that one collection goes by: with a key pseudonyms, without one its own.

    A pseudonym is the first 12 hexadecimal digits of the HMAC-SHA256 of the id. UIDs of DICOM are
    never written: without a key their digests stand in paths and remarks.
    """

    def __init__(self, collection: Collection, secret: bytes | None) -> None:
        self._root = collection.root
        self._secret = secret
        self._places: dict[Path, Path] = {}
        self._table: dict[tuple[str, str], str] = {}
        self._words: set[str] = set()
        if secret is not None:
            for view in collection.views:
                relative = self._relative(view)
                stem = relative.with_suffix("") if self._suffix(relative) else relative
                self._hide(view.case_id, view.lesion_id, str(stem))
            for item, _ in collection.left_out:
                self._hide(item)

    def view(self, view: LesionView) -> LesionView:
        """The view with the ids and the note that may be written; its image's path stays."""
        case = self._name("case", view.case_id)
        lesion = self._name("lesion", view.lesion_id, f"{view.case_id}/{view.lesion_id}")
        return replace(view, case_id=case, lesion_id=lesion, note=self.text(view.note))

    def image(self, view: LesionView) -> str:
        """The file's path relative to the collection's root, or its pseudonym and extension."""
        relative = self._relative(view)
        if self._secret is None:
            return _UID.sub(_digest, relative.as_posix())
        return self._name("image", relative.as_posix()) + self._suffix(relative)

    def item(self, text: str) -> str:
        """The name of something left out, which a source describes in its own words."""
        return self._name("item", self.text(text) if self._secret is None else text)

    def text(self, text: str) -> str:
        """A remark without the collection's place on this machine, UIDs and hidden words."""
        text = self._without_root(text)
        if self._secret is None:
            return _UID.sub(_digest, text)
        text, hide = _UID.sub("[hidden]", text), self._words
        return _WORD.sub(lambda word: "[hidden]" if word[0].casefold() in hide else word[0], text)

    def _without_root(self, text: str) -> str:
        """Only where it stands as a path: '.' and 'data' are in many sentences and numbers."""
        root = str(self._root)
        if root == os.curdir:
            return text
        text = re.sub(rf"(?<![\w./\\-]){re.escape(root)}[/\\]", "", text)
        if self._root.is_absolute():
            return text.replace(root, "the folder")
        return re.sub(rf"^{re.escape(root)}(?=:)", "the folder", text)

    def failure(self, text: str) -> str:
        """A reason that may quote a header, without its quotations where names are hidden."""
        return self.text(text if self._secret is None else _QUOTED.sub("", text))

    def save_lookup(self, collection: str, fingerprint: str) -> None:
        """Writes the table from pseudonym to id of these shards, beside the key and as private."""
        if self._secret is None:
            return
        path = key_path().with_name(lookup_name(collection, fingerprint))
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("kind", "pseudonym", "original"))
        table.writerows((kind, name, harmless(said)) for (kind, said), name in self._table.items())
        draft = path.with_name(f".{path.name}-{os.getpid()}")
        _write_private(draft, text.getvalue(), os.O_TRUNC)
        draft.replace(path)

    def _relative(self, view: LesionView) -> Path:
        """From the root; a manifest of one's own may lead out of it."""
        path = view.image_path
        if path not in self._places:
            inside = path.is_relative_to(self._root)
            relative = path.relative_to(self._root) if inside else os.path.relpath(path, self._root)
            self._places[path] = Path(relative)
        return self._places[path]

    def _suffix(self, path: Path) -> str:
        """The ending of a known kind of image; any other may be part of an identifier."""
        return path.suffix.lower() if path.suffix.lower() in READERS else ""

    def _name(self, kind: str, own: str, whole: str | None = None) -> str:
        """`own`, or the pseudonym of `whole` (or of `own`)."""
        if self._secret is None:
            return own if kind in ("image", "item") else refuse_formula(own, f"{kind} id")
        said = own if whole is None else whole
        if (kind, said) not in self._table:
            digest = hmac.digest(self._secret, f"{kind}\0{said}".encode(), "sha256")
            self._table[kind, said] = digest.hex()[:12]
        return self._table[kind, said]

    def _hide(self, *texts: str) -> None:
        for text in texts:
            for word in _WORD.findall(text):
                # Single letters and small numbers are in every sentence and identify nobody.
                if len(word) >= (4 if word.isdecimal() else 2):
                    self._words.add(word.casefold())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps warnings off the screen while files are read: DICOM readers quote header values."""
    logger = logging.getLogger("pydicom")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _digest(uid: re.Match) -> str:
    """What stands for a UID where names are written as they are: the same wherever it occurs, and
    nothing to whoever has not the collection itself."""
    return f"uid-{hashlib.sha256(uid[0].encode()).hexdigest()[:12]}"


def _write_private(path: Path, text: str, flag: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | flag, 0o600), "w") as file:
        file.write(text)
