"""What patients, lesions and files are called in all that is written.

The key lies outside every output: in the file that the environment variable MTL_JAX_KEY_FILE names,
else in ~/.config/mtl_jax/key, made with mode 600 when first needed. The same patient has the same
pseudonym in every ingest with the same key.
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
KEEP_IDS = "write ids as they are: data.pseudonymise=False, and --keep-ids of tools/score.py"
# As DICOM writes the identifiers of studies, series and images, which collections name folders by.
_UID = re.compile(r"(?<![\d.])[0-2](?:\.\d+){3,}(?!\.?\d)")
_WORD = re.compile(r"[^\W_]+")
# Where a pixel size is from, in words of ours; and what stands for words of a user's.
SPACING_SOURCES = (
    *SPACING_FIELDS,
    *UNVERIFIED_SOURCES,
    ".ics RESOLUTION",
    "stated by the collection",
)
SPACING_FROM_TABLE = "stated in the table"
# Where a message of ours may quote what somebody else wrote.
_QUOTED = re.compile(r"\s*\(.*\)|'.*'|\".*\"")


def key_path() -> Path:
    """Return the file of the key. InputError: the home folder that it would lie in is not known."""
    named = os.environ.get(KEY_VARIABLE)
    try:
        return paths.path(named or "~/.config/mtl_jax/key")
    except InputError as error:
        if named:
            raise InputError(f"{KEY_VARIABLE}={error}") from error
        raise InputError(
            "the key of the pseudonyms has no place, as the home folder is not known (HOME is not"
            f" set): set {KEY_VARIABLE} to a file for it, or {KEEP_IDS}"
        ) from error


def load_key() -> bytes:
    """Return the secret of this user, made where there is none yet. InputError: it cannot be
    kept."""
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
            f" to another file, or {KEEP_IDS}"
        ) from error
    if len(secret) < 32:
        raise InputError(f"{path}: damaged: the key of the pseudonyms is 64 hexadecimal digits")
    return secret.encode()


def _lookup_error(place: Path, error: OSError) -> InputError:
    return InputError(
        f"{place}: what the pseudonyms stand for cannot be written beside the key"
        f" ({error.strerror}); copy the key to a folder that can be written and set {KEY_VARIABLE}"
        f" to it, or {KEEP_IDS}"
    )


def lookup_name(collection: str, fingerprint: str) -> str:
    """Return the file of the ids behind the pseudonyms of these shards; it stands beside the
    key."""
    return f"lookup-{collection}-{fingerprint[:12]}.csv"


class Pseudonyms:
    """What ids and file names are written as: with a key pseudonyms, without one as they are.

    A pseudonym is the first 12 hexadecimal digits of the HMAC-SHA256 of the id. UIDs of DICOM are
    never written: without a key their digests stand in paths and remarks. InputError where two
    names would be written as the same one.
    """

    def __init__(self, secret: bytes | None) -> None:
        self._secret = secret
        self._table: dict[tuple[str, str], str] = {}
        self._taken: dict[tuple[str, str], str] = {}

    def case(self, case_id: str) -> str:
        return self._name("case", case_id)

    def lesion(self, case_id: str, lesion_id: str) -> str:
        return self._name("lesion", lesion_id, f"{case_id}/{lesion_id}")

    def file(self, relative: PurePath) -> str:
        """Return the path, or its pseudonym and extension."""
        if self._secret is None:
            return _UID.sub(self._digest, relative.as_posix())
        return self._name("image", relative.as_posix()) + self._suffix(relative)

    def check_lookup(self) -> None:
        """Raise InputError where `save_lookup` could write nothing. For a command to call before
        its work, since pseudonyms without their table are of no use to their owner."""
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
        """Return where a pixel size is from: in fixed words, those of a user's table only without
        a key, as they may name a patient."""
        return text if self._secret is None or text in SPACING_SOURCES else SPACING_FROM_TABLE

    def save_lookup(self, collection: str, fingerprint: str) -> Path | None:
        """Write the table from pseudonym to id beside the key and as private, and return its path;
        None where ids are written as they are."""
        if self._secret is None:
            return None
        path = key_path().with_name(lookup_name(collection, fingerprint))
        rows = ((kind, name, escape_formula(said)) for (kind, said), name in self._table.items())
        text = format_csv(("kind", "pseudonym", "original"), rows)
        draft = path.with_name(f".{path.name}-{os.getpid()}")
        try:
            # A finished table is left alone: the key may lie where only its maker can write.
            if path.exists() and path.read_text(encoding="utf-8") == text:
                return path
            _write_private(draft, text, os.O_TRUNC)
            draft.replace(path)
        except OSError as error:
            raise _lookup_error(path, error) from error
        return path

    def _suffix(self, path: PurePath) -> str:
        """Return the ending of a known kind of image; any other may be part of an identifier."""
        return path.suffix.lower() if path.suffix.lower() in READERS else ""

    def _name(self, kind: str, own: str, whole: str | None = None) -> str:
        """Return `own`, or the pseudonym of `whole` (or of `own`)."""
        if self._secret is None:
            return own if kind in ("image", "item") else reject_formula(own, f"{kind} id")
        said = own if whole is None else whole
        if (kind, said) not in self._table:
            digest = hmac.digest(self._secret, f"{kind}\0{said}".encode(), "sha256")
            self._table[kind, said] = self._only(kind, digest.hex()[:12], said)
        return self._table[kind, said]

    def _digest(self, uid: re.Match) -> str:
        """Return what stands for a UID where names are written as they are: the same wherever it
        occurs, and nothing to whoever has not the collection itself."""
        digest = hashlib.sha256(uid[0].encode()).hexdigest()[:12]
        return f"uid-{self._only('UID', digest, uid[0])}"

    def _only(self, kind: str, short: str, said: str) -> str:
        """Return `short`; InputError where it stands for something else already. Names are no part
        of the message, which may be kept."""
        if self._taken.setdefault((kind, short), said) != said:
            cure = f"use another key ({KEY_VARIABLE}), or rename one of them"
            if kind == "UID":
                cure = "rename one of the files"
            raise InputError(
                f"two names of the kind {kind} would both be written as {short}, and be taken for"
                f" one: {cure}"
            )
        return short


class CollectionNames(Pseudonyms):
    """The names that one collection goes by."""

    def __init__(self, collection: Collection, secret: bytes | None) -> None:
        super().__init__(secret)
        self._root = collection.root
        self._places: dict[Path, Path] = {}
        self._words: set[str] = set()
        if secret is not None:
            for view in collection.views:
                relative = self._relative(view)
                stem = relative.with_suffix("") if self._suffix(relative) else relative
                self._hide(view.case_id, view.lesion_id, str(stem))
            for item, _ in collection.left_out:
                self._hide(item)

    def view(self, view: LesionView) -> LesionView:
        """Return the view with the ids and the note that may be written; its image's path stays."""
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
        """Return the image's path relative to the collection's root, or its pseudonym and
        extension."""
        return self.file(self._relative(view))

    def item(self, text: str) -> str:
        """Return the name of something left out, which a source describes in its own words."""
        return self._name("item", self.text(text) if self._secret is None else text)

    def text(self, text: str) -> str:
        """Return a remark without the collection's place on this machine, UIDs and hidden words."""
        text = self._without_root(text)
        if self._secret is None:
            return _UID.sub(self._digest, text)
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
        """Return a reason that may quote a header, without its quotations where names are
        hidden."""
        return self.text(text if self._secret is None else _QUOTED.sub("", text))

    def _relative(self, view: LesionView) -> Path:
        """From the root; a manifest of one's own may lead out of it."""
        path = view.image_path
        if path not in self._places:
            inside = path.is_relative_to(self._root)
            relative = path.relative_to(self._root) if inside else os.path.relpath(path, self._root)
            self._places[path] = Path(relative)
        return self._places[path]

    def _hide(self, *texts: str) -> None:
        for text in texts:
            for word in _WORD.findall(text):
                # Single letters and small numbers are in every sentence and identify nobody.
                if len(word) >= (4 if word.isdecimal() else 2):
                    self._words.add(word.casefold())


@contextlib.contextmanager
def suppress_warnings() -> Iterator[None]:
    """Keep warnings off the screen while files are read: DICOM readers quote header values."""
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
