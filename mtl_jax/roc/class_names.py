"""Read the label of each row: 0 and 1, or two words of which one is the positive class."""

from collections.abc import Sequence
from pathlib import Path

from mtl_jax.types import InputError

Classes = tuple[str, str]  # negative, positive

# Pairs whose order is certain. The order of other words is never guessed.
KNOWN: tuple[Classes, ...] = (
    ("0", "1"),
    ("benign", "malignant"),
    ("negative", "positive"),
    ("false", "true"),
)
MAX_LISTED = 5


def parse_classes(text: str) -> Classes:
    """Return the two words of `--classes NEGATIVE,POSITIVE`; InputError if there are not two."""
    words = [plain_label(word) for word in text.split(",")]
    if len(words) != 2 or not all(words) or words[0] == words[1]:
        raise InputError(
            f"--classes={text} is invalid: expected two words, the negative class first, such as"
            " --classes benign,malignant"
        )
    return words[0], words[1]


def read_labels(
    path: Path,
    column: str,
    lines: Sequence[int],
    cells: Sequence[str],
    classes: Classes | None = None,
) -> list[float]:
    """Return 0.0 (negative) or 1.0 (positive) of each row.

    Without `classes` all cells must be of one pair in `KNOWN`. Raises ValueError with the values of
    the column otherwise.
    """
    labels = [plain_label(cell) for cell in cells]
    pairs = KNOWN if classes is None else (classes,)
    pair = next((pair for pair in pairs if set(labels) <= set(pair)), None)
    if pair is None:
        expected = "0 (benign) or 1 (malignant), or the words benign and malignant"
        cure = "for two other words add --classes NEGATIVE,POSITIVE"
        if classes is not None:
            expected, cure = f"{classes[0]} or {classes[1]}", "correct --classes or the rows"
        likeliest = max(pairs, key=lambda pair: sum(label in pair for label in labels))
        line = next(n for n, label in zip(lines, labels, strict=True) if label not in likeliest)
        raise ValueError(
            f"{path}: {column} has the values {list_values(cells)} (line {line}); expected"
            f" {expected}; {cure}"
        )
    return [float(pair.index(label)) for label in labels]


def list_values(cells: Sequence[str]) -> str:
    """Return the first distinct values of a column as text for messages."""
    values = list(dict.fromkeys(cells))
    listed = ", ".join(value or "(empty)" for value in values[:MAX_LISTED])
    more = len(values) - MAX_LISTED
    return f"{listed} and {more} more" if more > 0 else listed


def plain_label(text: str) -> str:
    """Return a label in small letters, and a whole number without decimals: '1.0' is '1'."""
    try:
        number = float(text)
    except ValueError:
        return text.strip().casefold()
    return str(int(number)) if number.is_integer() else text
