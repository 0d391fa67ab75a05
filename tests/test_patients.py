"""No patient is learned and tested, whatever the collections share; who is the same patient."""

import csv
import json
import string
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest


from kit.dicom import write_dicom
from test_study import approaches, made_up

from mtl_jax import config
from mtl_jax.data import crosswalk, doubles, ingest, patients
from mtl_jax.nouns import InputError, RoiSet
from mtl_jax.study import leaks, materials, splits, tell
from mtl_jax.study.plan import on_test_set, out_of_fold

BACKGROUND = {"correct": True, "along_mm": 3.2, "depth_mm": 1.6}
FOLDS = 2


def of_people(
    name: str, people: list[str], split: str = "", namespace: str = "manifest", seed: int = 0
) -> RoiSet:
    """A collection without pixels whose cases are these people, by patients.csv alone."""
    rois = made_up(name, len(people), split, seed=seed)
    cases = list(dict.fromkeys(rois.index["case_id"].tolist()))
    keys = patients.Keys(namespace, None)
    lines = patients.table(keys, dict(zip(people, cases, strict=True)), {})
    columns = {c: np.array([line[c] for line in lines], str) for c in patients.COLUMNS}
    columns["patient"] = np.array([keys.patient(one) for one in people])
    columns["case_id"] = np.array(cases)
    manifest = rois.manifest | {"namespace": namespace, "patient_key": keys.fingerprint}
    return replace(rois, patients=columns, manifest=manifest | {"ids_as_published": True})


# Whatever is drawn


def layout(rng: np.random.Generator) -> tuple[dict[str, RoiSet], dict[str, list[str]]]:
    """One to four collections of some hospitals, whose people overlap, with or without an official
    split; and the people of each collection's cases, in the words of this test."""
    collections, people = {}, {}
    for number in range(rng.integers(1, 5)):
        name, namespace = "tuvw"[number], ["one", "two"][rng.integers(2)]
        count = int(rng.integers(8, 40))
        drawn = rng.choice(60, count, replace=False)
        own = [f"{namespace}:{one}" for one in drawn]
        if rng.random() < 0.2:
            own[1] = own[0]  # one patient under two case ids
        official = "yes" if rng.random() < 0.4 else ""
        rois = of_people(name, [f"{i}/{p}" for i, p in enumerate(own)], official, namespace)
        keys = patients.Keys(namespace, None)
        table = dict(rois.patients) | {"patient": np.array([keys.patient(one) for one in own])}
        marks = np.array(["test", "train", ""])[rng.integers(0, 3, count)] if official else [""]
        index = dict(rois.index) | {"split": np.repeat(np.resize(marks, count), 2)}
        collections[name] = replace(rois, index=index, patients=table)
        people[name] = own
    return collections, people


def who(rois: RoiSet, own: list[str], rows: np.ndarray) -> set[str]:
    """The people of these rows, by the order of the cases."""
    return {own[row // 2] for row in rows.tolist()}


def held_to(collections: Mapping[str, RoiSet], people: dict[str, list[str]], seed: int) -> int:
    """Every run of a job on these collections, checked; how many there were."""
    rng = np.random.default_rng(seed)
    test_each, names = bool(rng.integers(2)), list(collections)
    wanted = ["sttl"]
    if len(names) > 1:
        wanted += ["mttl", "mttl+without=t", f"mttl+without={names[-1]}", f"sttl+of={names[1]}"]
    asked = approaches(tuple(rng.permutation(wanted)[: rng.integers(1, 5)]), "t", tuple(names))
    beside = materials.evaluated_beside("t", test_each, names, asked)
    rules = splits.Rules(False, int(rng.integers(1, 3)), FOLDS, float(rng.choice([0, 0.3])), seed)
    split = splits.divide(collections, "t", beside, rules)
    assert split.from_record(json.loads(json.dumps(split.record()))).never == dict(split.never)
    tests: set[str] = set()
    marked = {n: {c for c, m in zip(r.index["case_id"], r.index["split"], strict=True) if m == "test"}
              for n, r in collections.items()}  # fmt: skip
    for name in ("t", *beside):
        cases = list(dict.fromkeys(collections[name].index["case_id"].tolist()))
        chosen = set(split.test if name == "t" else split.others[name])
        assert marked[name] in (set(), chosen)
        tests |= {p for case, p in zip(cases, people[name], strict=True) if case in chosen}
    runs = out_of_fold(asked, ("C1",), range(1, rules.partitions + 1), FOLDS, 0, (0,))
    runs += on_test_set(asked, "C1", 0, (0,), (None, 4))
    checked = 0
    for run in runs:
        try:
            splits.refuse_unfit(run, collections, split)
            learned, scored = splits.members(run, collections, split)
        except InputError:
            continue
        checked += 1
        evaluated = set(tests)
        for name, rows in scored.items():
            evaluated |= who(collections[name], people[name], rows)
        for name, rows in learned.items():
            own = people[name]
            assert not who(collections[name], own, rows) & evaluated, (run.id, name)
            assert not set(rows.tolist()) & set(scored[name].tolist())
            if name != "t":  # whole otherwise
                assert who(collections[name], own, rows) == set(own) - evaluated
                assert len(rows) == sum(2 for one in own if one not in evaluated)
        labels = collections[run.tasks[0]].index["label"]
        for rows in (learned, scored):
            assert set(labels[rows[run.tasks[0]]].tolist()) == {0, 1}
    return checked


def test_no_evaluated_patient_is_in_any_training_set_of_1000_layouts() -> None:
    done = refused = 0
    for seed in range(1000):
        try:
            done += held_to(*layout(np.random.default_rng(seed)), seed)
        except InputError:
            refused += 1
    assert done > 3000 and refused < 400, (done, refused)
