"""Which sources of truth are good enough: one policy for all collections."""

from collections import Counter

from mtl_jax.types import Collection, InputError

# Each takes more than the one before it. Where a collection does not state the source of its truth
# it may be anything, so only policies that say so take it: by their name, or, birads, as any truth.
ACCEPTED: dict[str, tuple[str, ...]] = {
    "biopsy": ("biopsy", "simulated"),
    "biopsy_or_followup": ("biopsy", "simulated", "followup"),
    "biopsy_followup_or_unstated": ("biopsy", "simulated", "followup", "unstated"),
    "birads": ("biopsy", "simulated", "followup", "unstated", "birads"),
}
DEFAULT_POLICY = "biopsy_followup_or_unstated"


def rejection_reasons(collection: Collection, policy: str) -> list[str]:
    """Why each view is left out under `policy`, in the order of the views; '' where it is taken.

    InputError: the policy is unknown, or leaves nothing of a collection that had something.
    """
    if policy not in ACCEPTED:
        raise InputError(
            f"data.truth_policy is {policy!r}; it must be one of {', '.join(ACCEPTED)}"
        )
    reasons = [
        ""
        if view.truth_source in ACCEPTED[policy]
        else f"truth by {view.truth_source}, not {policy}"
        for view in collection.views
    ]
    if reasons and all(reasons):
        found = Counter(view.truth_source for view in collection.views)
        have = ", ".join(f"{source} ({count} lesion views)" for source, count in found.items())
        cure = next(name for name, takes in ACCEPTED.items() if set(found) & set(takes))
        raise InputError(
            f"{collection.name}: no lesion has its truth by {policy}; the collection has {have}:"
            f" set data.truth_policy to {cure!r}"
        )
    return reasons


def describe_policy(collection: Collection, policy: str, reasons: list[str]) -> str:
    """Return the policy and what it left out, for the record."""
    found = Counter(view.truth_source for view in collection.views)
    have = ", ".join(f"{source} {count}" for source, count in sorted(found.items()))
    return (
        f"{collection.name}: truth policy {policy} ({', '.join(ACCEPTED[policy])}): of the lesion"
        f" views ({have}) it leaves out {sum(map(bool, reasons))}"
    )
