"""Select lesions by their reference standard: one policy for all collections."""

from collections import Counter

from mtl_jax.types import Collection, InputError

# Each policy accepts more than the one before it. If a collection does not state its reference
# standard, it is accepted only by the policies that name 'unstated' or accept everything.
ACCEPTED: dict[str, tuple[str, ...]] = {
    "biopsy": ("biopsy", "simulated"),
    "biopsy_or_followup": ("biopsy", "simulated", "followup"),
    "biopsy_followup_or_unstated": ("biopsy", "simulated", "followup", "unstated"),
    "birads": ("biopsy", "simulated", "followup", "unstated", "birads"),
}
DEFAULT_POLICY = "biopsy_followup_or_unstated"


def rejection_reasons(collection: Collection, policy: str) -> list[str]:
    """Return why `policy` leaves each view out, in the order of the views; '' if it accepts it."""
    if policy not in ACCEPTED:
        raise InputError(
            f"config.data.truth_policy={policy!r} is invalid: expected one of {', '.join(ACCEPTED)}"
        )
    reasons = [
        ""
        if view.truth_source in ACCEPTED[policy]
        else f"reference standard {view.truth_source}, not {policy}"
        for view in collection.views
    ]
    if reasons and all(reasons):
        counts = Counter(view.truth_source for view in collection.views)
        standards = ", ".join(
            f"{source} ({count} lesion views)" for source, count in counts.items()
        )
        accepting = next(name for name, sources in ACCEPTED.items() if set(counts) & set(sources))
        raise InputError(
            f"{collection.name}: no lesion has a reference standard that truth_policy={policy!r}"
            f" accepts; the collection has {standards}: set config.data.truth_policy to"
            f" {accepting!r}"
        )
    return reasons


def describe_policy(collection: Collection, policy: str, reasons: list[str]) -> str:
    """Return the policy and the number of lesion views it left out, for manifest.json."""
    counts = Counter(view.truth_source for view in collection.views)
    standards = ", ".join(f"{source} {count}" for source, count in sorted(counts.items()))
    return (
        f"{collection.name}: truth policy {policy} ({', '.join(ACCEPTED[policy])}) leaves out"
        f" {sum(map(bool, reasons))} of the lesion views ({standards})"
    )
