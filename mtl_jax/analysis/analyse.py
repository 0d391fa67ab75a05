"""Analyse the trained networks of a finished study.

Each result is one file, written atomically; existing files are kept.
"""

import sys
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

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
from mtl_jax.analysis.choose_rois import ChosenRois
from mtl_jax.analysis.gradients import integrated_gradients
from mtl_jax.data.array_rows import Rows
from mtl_jax.io import atomic
from mtl_jax.io.progress import write_line
from mtl_jax.models.base import Network, output_shapes
from mtl_jax.training.dataset import Dataset, make_dataset, pixel_statistics
from mtl_jax.types import ROI_PIXELS, Params, RoiSet


class TrainedNetwork(NamedTuple):
    """A trained network, and the index of the head of the target's task."""

    network: Network
    params: Params
    head: int


class AnalysisInputs(NamedTuple):
    """The ROIs and scores that are analysed for every approach."""

    collections: Mapping[str, RoiSet]
    train_rows: Mapping[str, np.ndarray]  # of each collection
    target: str
    evaluation_rows: np.ndarray  # of the target; none is in the training set
    scores: Mapping[str, np.ndarray]  # of each approach for `evaluation_rows`
    shown_rows: np.ndarray  # further ROIs of the target that the report shows


def analyse(
    folder: Path,
    loaders: Mapping[str, Callable[[], TrainedNetwork]],
    inputs: AnalysisInputs,
    settings: ConfigDict,
    seed: int,
) -> None:
    """Write the analyses of each approach into `folder`.

    rois.npz: the analysed ROIs, with pictures (n, 128, 128) uint8;
    layers-APPROACH.csv: the layers of the network;
    tsne-APPROACH-LAYER.npz: points (m, 2) of the m sampled ROIs, KL divergence of each start;
    convergence-APPROACH.csv: silhouette score and squared MMD of tasks and classes by layer;
    maps-APPROACH.npz: deconvolution maps (of sequential backbones only) and
    integrated gradients of the explained ROIs, with their pictures; only with
    `settings.show_rois`.

    `settings` is config.analysis. A network is loaded only if a file of its approach is missing.
    """
    atomic.make_folder(folder)
    target_rows = inputs.target, inputs.evaluation_rows, inputs.shown_rows
    chosen = choose_rois.choose_rois(inputs.train_rows, *target_rows, settings.max_rois, seed)
    if not (folder / "rois.npz").exists():
        _write_rois(folder / "rois.npz", chosen, inputs.collections, settings.show_rois)
    mean, std = pixel_statistics(
        [Rows(inputs.collections[name].shards).take(r) for name, r in inputs.train_rows.items()]
    )
    for approach, load in loaders.items():
        tsne_paths = {layer: folder / f"tsne-{approach}-{layer}.npz" for layer in features.LAYERS}
        convergence_path = folder / f"convergence-{approach}.csv"
        maps_path = folder / f"maps-{approach}.npz"
        paths = [*tsne_paths.values(), convergence_path]
        paths += [maps_path] if settings.show_rois else []
        if all(path.exists() for path in paths):
            continue
        write_line(f"analysis of {approach}", sys.stdout)
        trained = load()
        layers_path = folder / f"layers-{approach}.csv"
        if not layers_path.exists():
            _write_layers(layers_path, trained)
        if maps_path in paths and not maps_path.exists():
            _write_maps(maps_path, trained, inputs, mean, std, settings)
        if not (convergence_path.exists() and all(path.exists() for path in tsne_paths.values())):
            dataset = _sampled_dataset(chosen, inputs, mean, std)
            layer_features = features.averaged_features(trained.network, trained.params, dataset)
            if not convergence_path.exists():
                _write_convergence(convergence_path, layer_features, chosen, inputs, seed)
            for layer, path in tsne_paths.items():
                if not path.exists():
                    _write_embedding(path, layer_features[layer], settings, seed)


def _write_rois(
    path: Path, chosen: ChosenRois, collections: Mapping[str, RoiSet], with_pictures: bool
) -> None:
    rois = list(zip(chosen.task, chosen.row, strict=True))
    columns = {}
    for name in ("roi_id", "case_id", "lesion_id", "view", "label"):
        column = {task: collections[task].index[name] for task in set(chosen.task.tolist())}
        values = [column[task][row] for task, row in rois]
        columns[name] = np.array(values, int if name == "label" else str)
    pictures = np.zeros((0, 128, 128), np.uint8)
    if with_pictures:
        pictures = np.stack([_picture(collections[task], row) for task, row in rois])
    arrays = chosen._asdict()
    del arrays["row"]
    write_results.write_arrays(path, **columns, **arrays, picture=pictures)


def _write_layers(path: Path, trained: TrainedNetwork) -> None:
    """Write Table 3 of the paper: the output size and the number of parameters of each layer.

    A layer of several convolutions is described by the kernel size of the first one and the map of
    the last one; stride and the map before pooling are those of a layer of one convolution.
    """
    network = trained.network
    convs = network.convolution_chain()
    size, rows = network.input_size or ROI_PIXELS, []
    for layer, shape in output_shapes(network).items():
        weights = flatten_dict(trained.params[layer], sep="/")
        kernels = [array.shape[0] for array in weights.values() if array.ndim == 4]
        kernel = kernels[0] if kernels else ""
        map_size = shape[0] if len(shape) == 3 else ""
        pooled_size = stride = ""
        only = [conv for conv in convs if conv.layer == layer]
        if len(only) == 1:
            (conv,) = only
            stride, pooled_size = conv.stride, map_size if conv.pool else ""
            map_size = (size + sum(conv.pad) - kernel) // stride + 1
        size = shape[0]
        count = sum(leaf.size for leaf in weights.values())
        rows.append((layer, shape[-1], kernel, stride, map_size, pooled_size, count))
    header = ("layer", "nodes", "kernel", "stride", "map", "pooled", "parameters")
    write_results.write_table(path, header, rows)


def _write_embedding(
    path: Path, layer_features: np.ndarray, settings: ConfigDict, seed: int
) -> None:
    numbers = settings.perplexity, settings.iterations, settings.n_init
    result = embedding.embed(layer_features, *numbers, seed)
    write_results.write_arrays(path, **result._asdict())


def _write_convergence(
    path: Path,
    layer_features: Mapping[str, np.ndarray],
    chosen: ChosenRois,
    inputs: AnalysisInputs,
    seed: int,
) -> None:
    """Write the convergence measures of each layer.

    In the file, `truth` is the class, `learned` the training set and `scored` the evaluation set.
    Tasks are compared by their training ROIs only, so that training ROIs are not compared with
    evaluation ROIs.
    """
    sampled = np.flatnonzero(chosen.sampled)
    task, is_training, row = chosen.task[sampled], chosen.learned[sampled], chosen.row[sampled]
    names = list(dict.fromkeys(task.tolist()))
    labels, cases = (
        {name: inputs.collections[name].index[column] for name in names}
        for column in ("label", "case_id")
    )
    label = np.array([int(labels[t][r]) for t, r in zip(task, row, strict=True)])
    case = np.array([f"{t}\t{cases[t][r]}" for t, r in zip(task, row, strict=True)])
    is_target = task == inputs.target
    comparisons = [
        ("silhouette", "truth", "learned", is_target & is_training, label),
        ("silhouette", "truth", "scored", is_target & ~is_training, label),
    ]
    if len(names) > 1:
        comparisons.append(("silhouette", "task", "learned", is_training, task))
    for a, b in combinations(names, 2):
        pair = is_training & np.isin(task, (a, b))
        comparisons.append(("mmd2", f"{a} and {b}", "learned", pair, task))
    mmd2 = convergence.maximum_mean_discrepancy
    measures = {"silhouette": convergence.silhouette, "mmd2": mmd2}
    rows = []
    for layer in features.LAYERS:
        distance = convergence.distances(layer_features[layer])
        for name, groups, subset, mask, group in comparisons:
            part = distance[np.ix_(mask, mask)], group[mask]
            value = measures[name](*part)
            se = convergence.standard_error(measures[name], *part, case[mask], seed)
            rows.append((layer, name, groups, subset, value, se, int(mask.sum())))
    header = ("layer", "measure", "groups", "rois", "value", "se", "n")
    write_results.write_table(path, header, rows)


def _write_maps(
    path: Path,
    trained: TrainedNetwork,
    inputs: AnalysisInputs,
    mean: np.ndarray,
    std: np.ndarray,
    settings: ConfigDict,
) -> None:
    """Write the maps of the requested ROIs and of those with extreme mean scores.

    Extreme ROIs have the highest or lowest mean score over all approaches, so that the same ROIs
    are explained for each approach.
    """
    rois = inputs.collections[inputs.target]
    score = np.mean(list(inputs.scores.values()), axis=0)
    label = rois.index["label"][inputs.evaluation_rows]
    explained = choose_rois.find_rois(rois, settings.roi_ids)
    explained += [
        (kind, int(inputs.evaluation_rows[i]))
        for kind, i in choose_rois.extreme_rois(label, score, settings.explained)
    ]
    kinds, rows = (list(column) for column in zip(*explained, strict=True))
    target = list(inputs.train_rows).index(inputs.target)
    feature_indices, maps, scale, attributions = [], [], [], []
    for row in rows:
        gray = np.float32((Rows(rois.shards)[np.array([row])][0] - mean[target]) / std[target])
        network = trained.network, trained.params
        strongest = deconvolution.strongest_maps(*network, gray, settings.maps)
        layers = tuple(strongest)
        feature_indices.append([indices for indices, _ in strongest.values()])
        projections = np.zeros((0, settings.maps, *gray.shape), np.float32)
        if strongest:
            projections = np.stack([layer_maps for _, layer_maps in strongest.values()])
        largest = np.abs(projections).max((-2, -1))
        scale.append(largest)
        maps.append(np.float16(projections / np.maximum(largest, 1e-30)[..., None, None]))
        attributions.append(integrated_gradients(*network, gray, trained.head, settings.steps))
    write_results.write_arrays(
        path,
        roi_id=rois.index["roi_id"][rows].astype(str),
        label=rois.index["label"][rows].astype(int),
        kind=np.array(kinds),
        picture=np.stack([_picture(rois, row) for row in rows]),
        layer=np.array(layers, str),
        feature=np.array(feature_indices, int),
        maps=np.stack(maps),
        scale=np.stack(scale),
        integrated=np.stack(attributions),
    )


def _sampled_dataset(
    chosen: ChosenRois, inputs: AnalysisInputs, mean: np.ndarray, std: np.ndarray
) -> Dataset:
    """Return the sampled ROIs in their order: training ROIs by task, then evaluation ROIs."""
    tasks = list(inputs.train_rows)
    parts = [(task, True) for task in tasks] + [(inputs.target, False)]
    pixels, labels, means, stds = [], [], [], []
    for task, is_training in parts:
        mask = chosen.sampled & (chosen.task == task) & (chosen.learned == is_training)
        rows = chosen.row[mask]
        rois = inputs.collections[task]
        pixels.append(Rows(rois.shards)[rows])
        labels.append(rois.index["label"][rows].astype(int))
        means.append(mean[tasks.index(task)])
        stds.append(std[tasks.index(task)])
    return make_dataset(pixels, labels, np.float32(means), np.float32(stds))


def _picture(rois: RoiSet, row: int) -> np.ndarray:
    """Return an ROI as 8-bit gray, with its 0.5th percentile black and its 99.5th white."""
    pixels = Rows(rois.shards)[np.array([row])][0]
    low, high = np.percentile(pixels, (0.5, 99.5))
    return np.uint8(np.rint(255 * np.clip((pixels - low) / max(high - low, 1), 0, 1)))
