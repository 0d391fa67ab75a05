"""Read CSV tables: cells as they are written, and the line number of each row."""

import codecs
import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from mtl_jax.types import InputError

DELIMITERS = ",;\t"  # ties are broken by this order
# Names of encodings for messages.
ENCODING_NAMES = {"utf-8-sig": "UTF-8", "utf-16": "UTF-16", "cp1252": "Windows-1252 (cp1252)"}
UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

Uneven = list[tuple[int, list[str]]]  # line and cells of each row


def read_csv(
    path: Path,
    *,
    known: Sequence[str] = (),
    delimiter: str = "",
    encodings: Sequence[str] = ("utf-8-sig",),
    strip: bool = False,
    uneven: Uneven | None = None,
    limits: tuple[int, int] = (10**9, 10**4),
) -> pd.DataFrame:
    """Return the rows below the header as text, indexed by the number of the line each ends on.

    Rows without any text are left out, and no cell is interpreted: '007' and 'NA' stay as they are.
    If `known` names columns, the delimiter is the one that they show (`find_delimiter`), unless
    `delimiter` states it; then the caller checks the header for repeated names. Otherwise it is
    the comma, and no name may be repeated. The first of `encodings` that fits is used
    (`find_encoding`). `strip` removes blanks around cells and column names. `uneven` receives line
    and cells of each row with more or fewer cells than the header, which is invalid without it.
    `limits` are the largest number of rows and of columns.
    """
    text = _text(path, encodings)
    check_names = not (known or delimiter)
    delimiter = delimiter or (_delimiter(text, known) if known else ",")
    header: list[str] = []
    lines, uneven_rows, even = [], [], io.BytesIO()
    for line, cells, raw in _rows(path, text, delimiter, limits):
        if not any(map(str.strip, cells)):
            continue
        if header and len(cells) == len(header):
            lines.append(line)
            even.write(raw.encode())
            continue
        if strip:
            cells = [cell.strip() for cell in cells]
        if header:
            uneven_rows.append((line, cells))
        else:
            header = cells
            even.write(delimiter.join(map(str, range(len(header)))).encode() + b"\n")
    if check_names:
        _check_repeated(path, header)
    if uneven is not None:
        uneven += uneven_rows
    elif uneven_rows:
        line, cells = uneven_rows[0]
        raise InputError(f"{path} line {line}: {len(cells)} cells under {len(header)} columns")
    text.close()  # frees the bytes of the file
    even.seek(0)
    table = pd.DataFrame()
    if header:
        table = pd.read_csv(even, sep=delimiter, index_col=False, dtype=object,
                            keep_default_na=False, skip_blank_lines=False)  # fmt: skip
    table = table.map(str.strip) if strip else table
    return table.set_axis(header, axis=1).set_axis(pd.Index(lines, int, name="line"), axis=0)


def plain(name: str) -> str:
    """Return a column name in small letters and digits: 'Bi-Rads' and 'BI RADS' are the same.

    Letters of all scripts are kept; 'ä' and 'a' with a combining diaeresis are the same.
    """
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFC", name).casefold())


def find_encoding(path: Path, data: bytes, encodings: Sequence[str]) -> str:
    """Return the first of `encodings` in which `data`, the content of `path`, is valid text.

    Only "utf-16" accepts zero bytes, and only after a byte order mark. Raises InputError with the
    cure if none fits.
    """
    cure = "save it as UTF-8 ('CSV UTF-8' in a spreadsheet program)"
    wide = "utf-16" in encodings and data.startswith(UTF_16_MARKS)
    encodings = [encoding for encoding in encodings if (encoding == "utf-16") == wide]
    if b"\0" in data and not wide:
        raise InputError(
            f"{path}: not a CSV in UTF-8 (it holds zero bytes: it is UTF-16 or binary); {cure}"
        )
    for encoding in encodings:
        try:
            data.decode(encoding)
            return encoding
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            reason = f"line {line} holds the byte 0x{data[error.start]:02x}"
    names = " or ".join(ENCODING_NAMES.get(encoding, encoding) for encoding in encodings)
    raise InputError(f"{path}: not a CSV in {names} ({reason}); {cure}")


def find_delimiter(header: str, known: Sequence[str]) -> str:
    """Return the one of `DELIMITERS` that separates most of the `known` names in a header line.

    If the line has none of them, it is the most frequent one outside of quotes.
    """
    names = set(map(plain, known))
    counts = {mark: len(names & set(map(plain, header.split(mark)))) for mark in DELIMITERS}
    if not any(counts.values()):
        bare = re.sub(r'"[^"]*"', "", header)
        counts = {mark: bare.count(mark) for mark in DELIMITERS}
    return max(DELIMITERS, key=counts.__getitem__)


def find_header(lines: Iterable[str]) -> str:
    """Return the first line with text; a line of delimiters, as `;;;`, is blank. '' if none has."""
    return next((line for line in lines if line.strip(f'{DELIMITERS}" \r\n')), "")


def _text(path: Path, encodings: Sequence[str]) -> io.TextIOWrapper:
    """Return the decoded file, with line ends as they are."""
    data = path.read_bytes()
    return io.TextIOWrapper(io.BytesIO(data), find_encoding(path, data, encodings), newline="")


def _delimiter(text: io.TextIOWrapper, known: Sequence[str]) -> str:
    header = find_header(text)
    text.seek(0)
    return find_delimiter(header, known)


def _rows(
    path: Path, text: Iterator[str], delimiter: str, limits: tuple[int, int]
) -> Iterator[tuple[int, list[str], str]]:
    """Yield the last line, the cells and the text of each row, empty ones too."""
    parts: list[str] = []

    def record_lines() -> Iterator[str]:
        for line in text:
            parts.append(line)
            yield line

    reader = csv.reader(record_lines(), strict=True, delimiter=delimiter)
    try:
        for number, cells in enumerate(reader):
            if number >= limits[0] or len(cells) > limits[1]:
                raise InputError(
                    f"{path} line {reader.line_num}: more than {limits[0]} rows or {limits[1]}"
                    " columns; this is not such a table"
                )
            yield reader.line_num, cells, "".join(parts)
            parts.clear()
    except csv.Error as error:
        raise InputError(
            f"{path} line {reader.line_num}: not a CSV ({error}); check the quotes there"
        ) from error


def _check_repeated(path: Path, header: Sequence[str]) -> None:
    repeated = [name for name, count in Counter(header).items() if name and count > 1]
    if repeated:
        shown = "".join(c if c.isprintable() else " " for c in ", ".join(repeated))
        raise InputError(f"{path}: column {shown} is repeated in its header; keep one")
