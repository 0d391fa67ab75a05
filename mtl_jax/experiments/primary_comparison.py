"""The primary comparison of a study, chosen before any training."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mtl_jax.experiments import stages
from mtl_jax.experiments.run_lists import Approach
from mtl_jax.types import InputError

FALLBACK = "obuchowski"  # the test used if the AUC of a proper fit cannot be reported


class Primary(NamedTuple):
    """The primary comparison: a pair of approaches, the unit (view or lesion) and the test.

    If the study has no primary test, `pair` is None and `reason` says why.
    """

    unit: str
    test: str
    pair: tuple[str, str] | None
    reason: str = ""

    @property
    def method(self) -> str:
        """The method of the AUCs that the test compares."""
        return "proper" if self.test == "proper" else "empirical"

    def __str__(self) -> str:
        if self.pair is None:
            return f"primary analysis: none ({self.reason})"
        a, b = self.pair
        return (
            f"primary analysis: difference of {self.unit}-level AUCs, {a} - {b}, test {self.test}"
        )

    def apply_fallback(self, rows: Sequence[Mapping[str, Any]]) -> "Primary":
        """Replace a test of proper fits by FALLBACK unless the AUC `rows` of the stage have a
        reportable proper fit of both approaches."""
        reportable = {
            row["study"]
            for row in rows
            if row["headline"] and (row["unit"], row["method"]) == (self.unit, "proper")
        }
        if self.test != "proper" or set(self.pair or ()) <= reportable:
            return self
        return self._replace(test=FALLBACK)

    def record(self) -> dict[str, Any]:
        """Return the entry `primary` of folds.json."""
        entry = self._asdict() | {"pair": None if self.pair is None else list(self.pair)}
        if self.test == "proper":
            entry["fallback"] = (
                f"{FALLBACK}, if the status of a proper fit is not ok or the empirical AUC is below"
                " 0.5"
            )
        return entry


def resolve_primary(
    settings: ConfigDict, study: str, approaches: Sequence[Approach], target: str
) -> Primary:
    """Return the primary comparison of a study from config.statistics.primary; raise InputError if
    an approach of its pair is not tested on the target."""
    unit, test, pair = settings.unit, settings.test, tuple(settings.pair)
    names = [approach.name for approach in approaches if approach.tasks[0] == target]
    for name in pair:
        if name not in names:
            raise InputError(
                f"config.statistics.primary.pair={pair!r} is invalid: {name!r} is not tested on"
                f" {target}; expected () or two of: {', '.join(names) or 'none'}"
            )
    last = stages.of_study(study)[-1]
    if not last.compares_approaches:
        return Primary(unit, test, None, f"a study of {last.title} has no primary test")
    if len(names) < 2:
        return Primary(unit, test, None, f"only one approach is evaluated on {target}")
    return Primary(unit, test, pair or (names[0], names[1]))
