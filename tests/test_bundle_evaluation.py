"""The evaluation of scored lesions whose reference standard is known."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl_jax import bundle, roc
from mtl_jax.bundle import evaluation, tied_scores
from mtl_jax.bundle.lesion_table import UNKNOWN_TRUTH, LesionRow
from mtl_jax.bundle.scoring import LesionScore, ModelScores, ViewScore
from mtl_jax.types import UNKNOWN, LesionView, Note

POINTS = [{"name": "highest Youden index", "threshold": 0.5}]
# Label, score and patient of each lesion: 8 of the 9 pairs of a malignant and a benign lesion are
# in order.
LABELS, SCORES = (1, 1, 1, 0, 0, 0), (0.9, 0.6, 0.3, 0.2, 0.4, 0.1)
PATIENTS = ("a", "a", "b", "c", "d", "d")


def make_model(tasks: Sequence[str] = ("sfm", "dm"), **about: Any) -> bundle.Model:
    """Return a model of two collections with three training lesions, one malignant, in each."""
    ids = np.array(["a", "x", "y"] * 2)
    reference = bundle.Reference(
        np.repeat(tasks, 3), ids, ids, np.tile([1, 0, 0], 2), np.zeros(6), np.zeros((6, 100))
    )
    facts = {
        "run": {"id": "run-0", "tasks": list(tasks)},
        "calibration": {"lesion": {"a": 1.0, "b": 0.0, "prevalence": 0.4}},
        "operating_points": POINTS,
    }
    return bundle.Model(facts | about, {}, reference)


def make_lesions(
    labels: Sequence[int] = LABELS,
    scores: Sequence[float] = SCORES,
    patients: Sequence[str] | None = PATIENTS,
    calibrated: bool = True,
    unknown_truth: str = "",
    flags: tuple[str, ...] = (),
    case_is: str = "patient",
) -> list[LesionScore]:
    """Return lesions of one view; a calibrated probability is the score. None: no patients."""
    lesions = []
    for i, (label, score) in enumerate(zip(labels, scores, strict=True)):
        case = str(i) if patients is None else patients[i]
        fields = ("asked", Path("a.dcm"), (0, 0, 9, 9), case, str(i), "CC", "L", "SFM", label)
        view = LesionView(*fields, "unstated", (50.0, 50.0), "manifest")
        notes = (Note(UNKNOWN_TRUTH),) if unknown_truth and label == UNKNOWN else ()
        word = unknown_truth if notes else ""
        named = "lesion" if patients is None else case_is
        row = LesionRow(view, "a.dcm", "", {}, "", notes, named, word)
        probability = score if calibrated else float("nan")
        in_view = ViewScore(row, score, probability, (), np.zeros(0), None)
        values = (case, str(i), label, score, probability, 0.0, 0.0)
        lesions.append(LesionScore(*values, (), flags, (in_view,)))
    return lesions


def evaluate(lesions: list[LesionScore], task: str = "sfm", **about: Any) -> dict[str, Any]:
    return evaluation.evaluate([ModelScores(make_model(**about), task, lesions)])


def test_values_by_hand() -> None:
    record = evaluate(make_lesions((*LABELS, UNKNOWN), (*SCORES, 0.99), (*PATIENTS, "e")))
    (model,) = record["models"]
    assert (record["n_malignant"], record["n_benign"], record["n_patients"]) == (3, 3, 4)
    assert (record["n_without_truth"], record["prevalence"]) == (1, 0.5)
    assert model["auc"]["auc"] == pytest.approx(8 / 9)
    (point,) = model["operating_points"]
    assert point["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert point["specificity"]["value"] == 1.0
    check = model["calibration"]
    errors = np.subtract(SCORES, LABELS)
    assert check["brier"] == pytest.approx(np.mean(errors**2))
    assert check["difference"] == pytest.approx(0.5 - np.mean(SCORES))
    assert check["difference_ci_low"] < check["difference"] < check["difference_ci_high"]
    assert check["brier_ci_low"] < check["brier"] < check["brier_ci_high"]
    assert model["training_prevalence"] == 0.4 and record["difference"] is None
    text = "\n".join(evaluation.describe(record))
    assert "6 lesions of 4 patients with a reference standard, 3 malignant and 3 benign; 1" in text
    assert "0.50 here, 0.40 among the training lesions\nintervals are clustered by patient" in text
    rows = dict((name, texts[0]) for name, texts in evaluation.table(record))
    assert rows["AUC"].startswith("0.889 (95% CI ")
    expected = "0.5000, sensitivity 0.67 (95% CI "
    assert rows["threshold for highest Youden index"].startswith(expected)
    assert evaluation.FEW_LESIONS in record["notes"]


def test_intervals_are_clustered_by_the_patients_of_the_table() -> None:
    """Each lesion twice: with patients the interval of the AUC is that of single lesions."""
    labels, scores = np.tile(LABELS, 8), np.tile(SCORES, 8)
    patients = [f"p{i}" for i in range(48)]
    single = evaluate(make_lesions(labels, scores, patients))["models"][0]["auc"]
    twice = [np.repeat(column, 2).tolist() for column in (labels, scores, patients)]
    clustered = evaluate(make_lesions(*twice))
    by_lesion = evaluate(make_lesions(*twice[:2], None))
    assert clustered["clustered_by"] == "patient" and clustered["n_patients"] == 48
    assert clustered["models"][0]["auc"]["se"] == pytest.approx(single["se"], rel=1e-6)
    # Without patients the copies count as independent lesions, which is stated.
    assert by_lesion["models"][0]["auc"]["se"] == pytest.approx(single["se"] / 2**0.5, rel=0.03)
    assert (by_lesion["clustered_by"], by_lesion["n_patients"]) == ("lesion", None)
    assert evaluation.NO_PATIENTS in by_lesion["notes"]
    assert evaluation.NO_PATIENTS not in clustered["notes"]
    widths = [
        np.diff([point[name] for name in ("ci_low", "ci_high")])
        for point in (
            record["models"][0]["operating_points"][0]["sensitivity"]
            for record in (clustered, by_lesion)
        )
    ]
    assert widths[0] > 1.3 * widths[1]


def test_groups_cluster_as_patients_and_match_no_training_patient() -> None:
    by_patient, by_group = (
        evaluate(make_lesions(case_is=case_is)) for case_is in ("patient", "group")
    )
    assert by_group["models"][0]["auc"] == by_patient["models"][0]["auc"]
    assert (by_group["clustered_by"], by_group["n_patients"]) == ("group", None)
    assert by_group["n_groups"] == by_patient["n_patients"] == 4
    # The id "a" is that of a training case, but names a group of images here.
    assert by_patient["models"][0]["n_training_patients"] == 1
    assert by_group["models"][0]["n_training_patients"] is None
    assert by_group["models"][0]["n_training_groups"] == 0
    assert evaluation.NO_PATIENTS not in by_group["notes"]
    text = "\n".join(evaluation.describe(by_group))
    assert "6 lesions of 4 groups with" in text and "intervals are clustered by group" in text


@pytest.mark.parametrize(
    ("label", "defined", "undefined"),
    [(1, "sensitivity", "specificity"), (0, "specificity", "sensitivity")],
)
def test_one_class_has_no_auc(label: int, defined: str, undefined: str) -> None:
    record = evaluate(make_lesions([label] * 6))
    (model,) = record["models"]
    assert model["auc"] is None and model["calibration"] is None
    (point,) = model["operating_points"]
    assert point[undefined] is None
    assert point[defined]["value"] == pytest.approx(2 / 6 if label else 4 / 6)
    assert any(f"AUC, {undefined} and calibration are not defined" in n for n in record["notes"])
    rows = dict((name, texts[0]) for name, texts in evaluation.table(record))
    assert rows["AUC"] == "not defined" and undefined not in " ".join(rows.values())
    assert rows["calibration"] == "none: the lesions are of one class"


def test_without_any_truth_nothing_is_evaluated() -> None:
    lesions = make_lesions([UNKNOWN] * 6, unknown_truth="gutartig")
    assert evaluate(lesions) is None
    partly = evaluate(make_lesions((UNKNOWN, *LABELS[1:]), unknown_truth="gutartig"))
    assert f"1 lesion: {UNKNOWN_TRUTH}" in partly["notes"]


def test_unrecognized_truths_are_listed_with_the_option() -> None:
    """One line, also if a cell has a line break, and with five words at most."""
    words = ["b\nc"] * 3 + ["a"] * 2 + list("defgh")
    lesions = [make_lesions([UNKNOWN], [0.5], ["p"], unknown_truth=word)[0] for word in words]
    assert evaluation.unrecognized_text([*lesions, *make_lesions()]) == (
        "not evaluated: the truth of 10 of 16 lesions is neither malignant nor benign: b c (3),"
        " a (2), d (1), e (1), f (1), 2 more; name your words with --classes NEGATIVE,POSITIVE"
    )
    assert evaluation.unrecognized_text(make_lesions()) == ""


def test_words_of_the_classes_are_recorded() -> None:
    results = [ModelScores(make_model(), "sfm", make_lesions())]
    record = evaluation.evaluate(results, ("gutartig", "bösartig"))
    assert record["notes"][0] == "truth gutartig is benign and bösartig malignant (--classes)"
    assert record["notes"][1:] == evaluation.evaluate(results)["notes"]


@pytest.mark.parametrize(
    ("n_lesions", "n_equal", "noted"), [(10, 3, True), (10, 2, False), (9, 8, False)]
)
def test_equal_scores_are_noted(n_lesions: int, n_equal: int, noted: bool) -> None:
    """More than a fifth of at least ten lesions."""
    scores = [0.25] * n_equal + [0.5 + i / 100 for i in range(n_lesions - n_equal)]
    labels, patients = [UNKNOWN] * n_lesions, list("abcdefghij")[:n_lesions]
    lesions = make_lesions(labels, scores, patients, flags=("contrast",))
    note = tied_scores.describe(make_model(), lesions)
    if not noted:
        assert note == ""
        return
    assert note == (
        f"{n_equal} of {n_lesions} scores are equal (0.250000): the network does not distinguish"
        f" these lesions, of which {n_equal} are flagged; all outputs of F4 are 0 for 6 of 6"
        " training lesions"
    )


def test_thresholds_and_probabilities_are_those_of_the_tested_collection() -> None:
    record = evaluate(make_lesions(calibrated=False), task="dm")
    (model,) = record["models"]
    assert model["operating_points"] == [] and model["calibration"] is None
    assert model["training_prevalence"] == pytest.approx(1 / 3)
    rows = dict((name, texts[0]) for name, texts in evaluation.table(record))
    reason = "none: they are valid for sfm, and these images were scored as dm"
    assert rows["operating points"] == rows["calibration"] == reason
    uncalibrated = evaluate(make_lesions(calibrated=False), calibration=None, operating_points=[])
    rows = dict((name, texts[0]) for name, texts in evaluation.table(uncalibrated))
    assert "no out-of-fold scores" in rows["operating points"] and "0.889" in rows["AUC"]


def test_training_patients_and_flagged_lesions_are_noted() -> None:
    notes = evaluate(make_lesions(flags=("contrast",)))["notes"]
    assert any(note.startswith("1 of 4 patients have the id of a training case") for note in notes)
    assert any(note.startswith("6 of 6 evaluated lesions are flagged") for note in notes)
    others = evaluate(make_lesions(patients=("e", "f", "g", "h", "i", "j")))["notes"]
    assert others == [evaluation.FEW_LESIONS]


def test_two_models_are_compared_by_patient() -> None:
    first, second = make_lesions(), make_lesions(scores=(0.9, 0.1, 0.3, 0.2, 0.4, 0.6))
    model = make_model()
    record = evaluation.evaluate(
        [ModelScores(model, "sfm", lesions) for lesions in (first, second)]
    )
    expected = roc.compare(
        LABELS, SCORES, [lesion.score for lesion in second], "obuchowski", list(PATIENTS)
    )
    assert record["difference"]["delta"] == pytest.approx(expected.delta) == pytest.approx(4 / 9)
    assert record["difference"]["se"] == expected.se and expected.n_clusters == 4
    assert evaluation.difference_text(record).startswith(
        "difference of the AUCs, first − second model: +0.444 (95% CI "
    )
    assert all(len(texts) == 2 for _, texts in evaluation.table(record))


@pytest.mark.parametrize(
    ("case_is", "dataset", "count"),
    [("group", "dm", 1), ("group", "sfm", 0), ("group", "asked", 0), ("patient", "dm", 0)],
)
def test_groups_match_training_groups_of_their_collection_alone(
    case_is: str, dataset: str, count: int
) -> None:
    collections = [{"name": "dm", "cases_are": "groups"}, {"name": "sfm", "cases_are": "groups"}]
    model = make_model(collections=collections)
    # The reference of dm has the id "a", that of sfm has not.
    ids = np.array(["z", "x", "y", "a", "x", "y"])
    model = replace(model, reference=model.reference._replace(case_id=ids))
    lesions = [
        lesion._replace(
            views=tuple(
                view._replace(
                    row=view.row._replace(view=replace(view.row.view, collection=dataset))
                )
                for view in lesion.views
            )
        )
        for lesion in make_lesions(case_is=case_is)
    ]
    record = evaluation.evaluate([ModelScores(model, "sfm", lesions)])
    assert record["models"][0][f"n_training_{case_is}s"] == count
    note = f"1 of 4 {case_is}s have the id of a training case of run-0: if they are the same groups"
    assert any(text.startswith(note) for text in record["notes"]) is bool(count)
