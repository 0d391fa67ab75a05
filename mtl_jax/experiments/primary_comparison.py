"""The one primary analysis of a study, settled before any training."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mtl_jax.config import STAGES
from mtl_jax.experiments.run_lists import Approach
from mtl_jax.types import InputError

FALLBACK = "obuchowski"  # for proper fits that may not be a headline
COMPARED = ("cross_validation", "test")  # last stages whose approaches are compared


class Primary(NamedTuple):
    """The primary comparison: `pair` of approaches, by `unit` and `test`; `pair` is None where the
    study has no primary test, and `reason` says why."""

    unit: str
    test: str
    pair: tuple[str, str] | None
    reason: str = ""

    @property
    def method(self) -> str:
        """That of the AUCs compared."""
        return "proper" if self.test == "proper" else "empirical"

    def __str__(self) -> str:
        if self.pair is None:
            return f"primary analysis: none, {self.reason}"
        a, b = self.pair
        return f"primary analysis: AUC of {a} - {b}, {self.unit} level, {self.test}"

    def barred(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether the declared test is of proper fits that may not be a headline, by the
        AUC `rows` of the stage: a fit whose status is not ok, or an empirical AUC below 0.5."""
        fitted = {
            row["study"]
            for row in rows
            if row["headline"] and (row["unit"], row["method"]) == (self.unit, "proper")
        }
        return self.test == "proper" and not set(self.pair or ()) <= fitted

    def fallback(self) -> "Primary":
        """Return the analysis that takes its place, as declared with it."""
        return self._replace(test=FALLBACK)

    def record(self) -> dict[str, Any]:
        """Return what folds.json holds."""
        pair = None if self.pair is None else list(self.pair)
        found = {"unit": self.unit, "test": self.test, "pair": pair, "reason": self.reason}
        rule = {"fallback": f"{FALLBACK}, where a proper fit may not be a headline"}
        return found | (rule if self.test == "proper" else {})


def resolve_primary(
    settings: ConfigDict, study: str, approaches: Sequence[Approach], target: str
) -> Primary:
    """Return the primary analysis that `settings` (config.statistics.primary) declare for a study
    of these approaches, `each` spelled out. InputError: the pair cannot be compared on the target.
    """
    unit, test, pair = settings.unit, settings.test, tuple(settings.pair)
    names = [approach.name for approach in approaches if approach.tasks[0] == target]
    for name in pair:
        if name not in names:
            raise InputError(
                f"config.statistics.primary.pair names {name!r}; the approaches that are tested on "
                f"{target} are {', '.join(names) or 'none'}: name two of them, or ()"
            )
    last = STAGES[study][-1]
    if last not in COMPARED:
        return Primary(unit, test, None, f"a study of {last.replace('_', ' ')} has no primary test")
    if len(names) < 2:
        return Primary(unit, test, None, f"one approach is tested on {target}")
    return Primary(unit, test, pair or (names[0], names[1]))
