"""Looks into the trained networks of a finished study. Trains nothing and draws nothing.

Each finding is one file, written whole; what is there is not made again.
"""

import functools
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from mtl_jax.analysis import (
    choose_rois,
    convergence,
    deconvolution,
    embedding,
    features,
    write_results,
)
from mtl_jax.analysis.gradients import integrated_gradients
from mtl_jax.data.array_rows import Rows
from mtl_jax.models.alexnet import CONVOLUTIONS, AlexNet
from mtl_jax.models.base import CONVOLUTIONAL, LAYERS, Network
from mtl_jax.training.dataset import Dataset, make_dataset, pixel_statistics
from mtl_jax.types import Params, RoiSet


class TrainedNetwork(NamedTuple):
    """A trained network, and the head of the target's task."""

    network: Network
    params: Params
    head: int


class AnalysisInputs(NamedTuple):
    """What every approach's network is shown: the collections, rows learned of each, the target and
    its scored rows, none of them learned, and each approach's scores of those rows. `pictured`:
    rows of the target that the report shows besides."""

    collections: Mapping[str, RoiSet]
    learned: Mapping[str, np.ndarray]
    target: str
    scored: np.ndarray
    scores: Mapping[str, np.ndarray]
    pictured: np.ndarray


def analyse(
    folder: Path,
    subjects: Mapping[str, Callable[[], TrainedNetwork]],
    material: AnalysisInputs,
    settings: ConfigDict,
    seed: int,
) -> None:
    """Writes into `folder`, for the config's `analysis` section `settings`:

    layers.csv: the network, layer by layer;
    rois.npz: the ROIs looked at, as pictures (n, 128, 128) uint8;
    tsne-APPROACH-LAYER.npz: points (m, 2) of the m sampled ROIs, costs of all starts;
    convergence-APPROACH.csv: how far tasks and truths lie apart, layer by layer;
    maps-APPROACH.npz: deconvolution maps (where the backbone is a chain of convolutions) and
    integrated gradients of the ROIs explained, which are pictures too: not where
    `settings.show_rois` is False.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = choose_rois.choose_rois(
        material.learned,
        material.target,
        material.scored,
        material.pictured,
        settings.max_rois,
        seed,
    )
    if not (folder / "rois.npz").exists():
        _write_rois(folder / "rois.npz", chosen, material.collections, settings.show_rois)
    mean, std = pixel_statistics(
        [
            Rows(material.collections[task].shards).of(rows)
            for task, rows in material.learned.items()
        ]
    )
    for approach, load in subjects.items():
        embeddings = {layer: folder / f"tsne-{approach}-{layer}.npz" for layer in features.LAYERS}
        measures, maps = folder / f"convergence-{approach}.csv", folder / f"maps-{approach}.npz"
        wanted = (*embeddings.values(), measures, *([maps] if settings.show_rois else []))
        if all(path.exists() for path in wanted):
            continue
        print(f"analysis of {approach}", flush=True)
        subject = load()
        if not (folder / "layers.csv").exists():
            _write_layers(folder / "layers.csv", subject)
        if maps in wanted and not maps.exists():
            _write_maps(maps, subject, material, mean, std, settings)
        if not (measures.exists() and all(path.exists() for path in embeddings.values())):
            pool = _pool(chosen, material, mean, std)
            found = features.averaged_features(subject.network, subject.params, pool)
            if not measures.exists():
                _write_measures(measures, found, chosen, material, seed)
            for layer, path in embeddings.items():
                if not path.exists():
                    _write_embedding(path, found[layer], settings, seed)


def _write_rois(
    path: Path, chosen: choose_rois.ChosenRois, collections: Mapping[str, RoiSet], pictures: bool
) -> None:
    columns = {}
    for name in ("roi_id", "case_id", "lesion_id", "view", "label"):
        whole = {task: collections[task].index[name] for task in set(chosen.task.tolist())}
        values = [whole[task][row] for task, row in zip(chosen.task, chosen.row, strict=True)]
        columns[name] = np.array(values, int if name == "label" else str)
    picture = np.zeros((0, 128, 128), np.uint8)
    if pictures:
        picture = np.stack(
            [
                _picture(Rows(collections[task].shards)[np.array([row])][0])
                for task, row in zip(chosen.task, chosen.row, strict=True)
            ]
        )
    kept = chosen._asdict()
    del kept["row"]
    write_results.write_arrays(path, **columns, **kept, picture=picture)


def _write_layers(path: Path, subject: TrainedNetwork) -> None:
    """Table 3 of the paper: what each layer puts out, and how many parameters it has. Of a layer of
    several convolutions: the size of the first one's kernels, and the map behind all of them."""
    network, side = subject.network, 128
    x = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
    rows = []
    for layer in LAYERS:
        apply = functools.partial(network.apply, first=layer, last=layer)
        x = jax.eval_shape(apply, {"params": subject.params}, x)
        own = flatten_dict(subject.params[layer], sep="/")
        size = next(leaf.shape[0] for name, leaf in own.items() if name.endswith("kernel"))
        before = pooled = stride = ""
        if layer not in CONVOLUTIONAL:
            size = ""
        elif isinstance(network, AlexNet):
            geometry = CONVOLUTIONS[layer]
            stride = geometry.stride
            before = (side + 2 * geometry.pad - geometry.size) // stride + 1
            pooled = x.shape[1] if geometry.pool else ""
        else:
            before = x.shape[1]
        side = x.shape[1]
        count = sum(leaf.size for leaf in own.values())
        rows.append((layer, x.shape[-1], size, stride, before, pooled, count))
    header = ("layer", "nodes", "kernel", "stride", "map", "pooled", "parameters")
    write_results.write_table(path, header, rows)


def _write_embedding(path: Path, found: np.ndarray, settings: ConfigDict, seed: int) -> None:
    made = embedding.embed(
        found,
        settings.perplexity,
        settings.iterations,
        settings.n_init,
        seed,
    )
    write_results.write_arrays(path, **made._asdict())


def _write_measures(
    path: Path,
    found: Mapping[str, np.ndarray],
    chosen: choose_rois.ChosenRois,
    material: AnalysisInputs,
    seed: int,
) -> None:
    """Tasks are compared by their learned ROIs, so that learned is not set against unseen."""
    keep = np.flatnonzero(chosen.sampled)
    task, learned, row = chosen.task[keep], chosen.learned[keep], chosen.row[keep]
    names = list(dict.fromkeys(task.tolist()))
    labels, cases = (
        {name: material.collections[name].index[column] for name in names}
        for column in ("label", "case_id")
    )
    label = np.array([int(labels[t][r]) for t, r in zip(task, row, strict=True)])
    case = np.array([f"{t}\t{cases[t][r]}" for t, r in zip(task, row, strict=True)])
    own = task == material.target
    parts = [
        ("silhouette", "truth", "learned", own & learned, label),
        ("silhouette", "truth", "scored", own & ~learned, label),
    ]
    if len(names) > 1:
        parts.append(("silhouette", "task", "learned", learned, task))
    for a, b in combinations(names, 2):
        parts.append(("mmd2", f"{a} and {b}", "learned", learned & np.isin(task, (a, b)), task))
    measure = {"silhouette": convergence.silhouette, "mmd2": convergence.maximum_mean_discrepancy}
    rows = []
    for layer in features.LAYERS:
        distance = convergence.distances(found[layer])
        for name, groups, which, mask, group in parts:
            within, of = distance[np.ix_(mask, mask)], group[mask]
            value = measure[name](within, of)
            se = convergence.standard_error(measure[name], within, of, case[mask], seed)
            rows.append((layer, name, groups, which, value, se, int(mask.sum())))
    header = ("layer", "measure", "groups", "rois", "value", "se", "n")
    write_results.write_table(path, header, rows)


def _write_maps(
    path: Path,
    subject: TrainedNetwork,
    material: AnalysisInputs,
    mean: np.ndarray,
    std: np.ndarray,
    settings: ConfigDict,
) -> None:
    rois = material.collections[material.target]
    score = np.mean([material.scores[a] for a in material.scores], axis=0)
    ends = choose_rois.extreme_rois(rois.index["label"][material.scored], score, settings.explained)
    shown = choose_rois.find_rois(rois, settings.roi_ids)
    shown += [(kind, int(material.scored[i])) for kind, i in ends]
    own = list(material.learned).index(material.target)
    which, maps, scale, pixels = [], [], [], []
    for _, row in shown:
        gray = np.float32((Rows(rois.shards)[np.array([row])][0] - mean[own]) / std[own])
        found = deconvolution.strongest_maps(subject.network, subject.params, gray, settings.maps)
        layers = tuple(found)
        which.append([numbers for numbers, _ in found.values()])
        none = np.zeros((0, settings.maps, *gray.shape), np.float32)  # of a network without maps
        each = np.stack([projected for _, projected in found.values()]) if found else none
        largest = np.abs(each).max((-2, -1))
        scale.append(largest)
        maps.append(np.float16(each / np.maximum(largest, 1e-30)[..., None, None]))
        pixels.append(
            integrated_gradients(
                subject.network, subject.params, gray, subject.head, settings.steps
            )
        )
    write_results.write_arrays(
        path,
        roi_id=rois.index["roi_id"][[row for _, row in shown]].astype(str),
        label=rois.index["label"][[row for _, row in shown]].astype(int),
        kind=np.array([kind for kind, _ in shown]),
        picture=np.stack([_picture(Rows(rois.shards)[np.array([row])][0]) for _, row in shown]),
        layer=np.array(layers, str),
        feature=np.array(which, int),
        maps=np.stack(maps),
        scale=np.stack(scale),
        integrated=np.stack(pixels),
    )


def _pool(
    chosen: choose_rois.ChosenRois, material: AnalysisInputs, mean: np.ndarray, std: np.ndarray
) -> Dataset:
    """The sampled ROIs in their order: the learned ones by task, then the target's others."""
    tasks = list(material.learned)
    keep = chosen.sampled
    order = [(t, True) for t in tasks] + [(material.target, False)]
    pixels, labels, means, stds = [], [], [], []
    for task, was_learned in order:
        rows = chosen.row[keep & (chosen.task == task) & (chosen.learned == was_learned)]
        rois = material.collections[task]
        pixels.append(Rows(rois.shards)[rows])
        labels.append(rois.index["label"][rows].astype(int))
        means.append(mean[tasks.index(task)])
        stds.append(std[tasks.index(task)])
    return make_dataset(pixels, labels, np.float32(means), np.float32(stds))


def _picture(pixels: np.ndarray) -> np.ndarray:
    """An ROI as 8 bits for the eye: its own 0.5th to 99.5th percentile from black to white."""
    low, high = np.percentile(pixels, (0.5, 99.5))
    return np.uint8(np.rint(255 * np.clip((pixels - low) / max(high - low, 1), 0, 1)))
