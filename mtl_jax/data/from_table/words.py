"""Translate the words of a table into the values of a manifest."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mtl_jax.data.sources.manifest import CHOICES, LABELS, VIEWS
from mtl_jax.io.read_csv import plain

# Letters and digits with signs that do not change what they mean.
_SEPARATED = re.compile(r"\w[\w .,;:/_-]*")
LEFT_OUT = "unknown"  # value of a truth that is neither malignant nor benign
TRUTH = (*LABELS, LEFT_OUT)
SIDES = {"left": "L", "lt": "L", "l": "L", "right": "R", "rt": "R", "r": "R"}
# English words and the usual abbreviations; all others need --value. In particular, no positive,
# 0, 1, BI-RADS category or BENIGN_WITHOUT_CALLBACK is taken as a reference standard.
WORDS: dict[str, dict[str, str]] = {
    "truth": {"malignant": "malignant", "m": "malignant", "benign": "benign", "b": "benign"},
    "laterality": SIDES,
    "view": {
        "craniocaudal": "CC",
        "mediolateraloblique": "MLO",
        "mediolateral": "ML",
        "lateromedial": "LM",
        **{plain(view): view for view in VIEWS},
    },
    "modality": {"sfm": "SFM", "screenfilm": "SFM", "film": "SFM", "dm": "DM", "ffdm": "DM",
                 "digital": "DM"},
    "polarity": {}, "truth_source": {}, "split": {"training": "train", "testing": "test"},
    "intensity_kind": {},
}  # fmt: skip
VALUES: dict[str, tuple[str, ...]] = {
    "truth": TRUTH,
    "view": VIEWS,
    **{name: CHOICES[name] for name in WORDS if name in CHOICES},
}


@dataclass
class Translation:
    """Translates the words of one field, and counts those that it does not know.

    `given` has the words of --value for each value of the manifest.
    """

    name: str
    given: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unknown: dict[str, list[int]] = field(default_factory=dict)  # lines of each unknown word

    def __post_init__(self) -> None:
        self._given = {
            word.strip().casefold(): value for value, words in self.given.items() for word in words
        }
        self._words = {plain(v): v for v in VALUES[self.name] if v} | WORDS[self.name]

    def is_given(self, text: str) -> bool:
        """Return whether --value states what a word means."""
        return text.casefold() in self._given

    def translate(self, text: str, line: int) -> str:
        """Return the value of the manifest for a cell; '' and a record if the word is unknown."""
        if self.is_given(text):
            return self._given[text.casefold()]
        if not text:
            return ""
        # 'malignant?' is in doubt, and '+' is a word of its own.
        value = self._words.get(plain(text), "") if _SEPARATED.fullmatch(text) else ""
        if not value:
            self.unknown.setdefault(text, []).append(line)
        return value

    def error(self) -> str:
        """Return one message that lists every unknown word with its count; '' if there is none."""
        if not self.unknown:
            return ""
        counts = ", ".join(
            f"{word!r} ({len(lines)}, first in line {lines[0]})"
            for word, lines in sorted(self.unknown.items(), key=lambda item: -len(item[1]))
        )
        known = ", ".join(value for value in VALUES[self.name] if value)
        example = next(iter(self.unknown))
        return (
            f"{self.name}: unknown values {counts}: state what each means, as in --value"
            f" '{self.name}:VALUE={example}', VALUE one of {known}"
        )


def split_view(text: str, words: Iterable[str] = tuple(WORDS["view"])) -> tuple[str, str]:
    """Return the side and the view of a cell such as 'L-MLO', 'RCC' or 'MLO left'.

    The side is '' if the text names none; the view is the text itself if it is not understood.
    """
    bare = plain(text) if _SEPARATED.fullmatch(text) else ""
    known = set(words)
    if bare in known:
        return "", text
    for word, side in SIDES.items():
        for rest in (bare.removeprefix(word), bare.removesuffix(word)):
            if rest != bare and rest in known:
                return side, rest
    return "", text
