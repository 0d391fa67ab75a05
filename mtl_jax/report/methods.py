"""Write a methods section for a paper from the config and the results."""

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_jax.config import MATCHED_STEPS, has_option
from mtl_jax.report import networks, phrases, statements
from mtl_jax.report.read_workdir import WorkFolder
from mtl_jax.types import GROUPS

PAPER = "Samala et al. 2017, Phys. Med. Biol. 62 8894"
# Names of config.train in words; others are named as in the config.
LOSSES = {
    "cross_entropy": "the cross-entropy",
    "focal": "the focal loss (Lin et al. 2017) with gamma {focal_gamma:g}",
}
OPTIMIZERS = {
    "sgd": "stochastic gradient descent with momentum {momentum:g}",
    "adamw": "AdamW (Loshchilov and Hutter 2019)",
}
SCHEDULES = {
    "exponential": "decreasing exponentially from {} to {}",
    "cosine": "decreasing by half a cosine from {} to {}",
    "steps": "divided by ten at equal intervals, from {} to about {}",
}
PLATFORMS = {"cpu": "CPUs", "gpu": "GPUs", "tpu": "TPUs"}
INITIALIZATIONS = {
    "he": "He-normal kernels (F5: normal, standard deviation 0.01) and zero biases",
    "krizhevsky2012": "normal kernels of standard deviation 0.01, and biases of 1 in hidden fully "
    "connected layers and 0 in the output layer (Krizhevsky et al. 2012)",
    "cuda_convnet2": "normal kernels of standard deviation 0.01, and biases of 1 in F1 and F2 and "
    "0 in F3 to F5 (as in cuda-convnet2), trained with twice the learning rate and without weight "
    "decay",
}


def paragraphs(work: WorkFolder) -> list[str]:
    """Return the paragraphs on data, network, training, statistics, analyses and software."""
    texts = [_data(work), _network(work), _training(work), _statistics(work)]
    if work.findings:
        texts.append(_analyses(work))
    versions = work.environment["packages"]
    texts.append(
        f"Software: mtl_jax {versions['mtl_jax']}, JAX {versions['jax']}, Flax {versions['flax']}, "
        f"NumPy {versions['numpy']}, SciPy {versions['scipy']}, on {work.environment['platform']} "
        f"({_devices(work)}). "
        f"The method follows {PAPER}."
    )
    return texts


def _devices(work: WorkFolder) -> str:
    """Return the devices of the job, and where the networks were trained if that was elsewhere."""
    devices = phrases.join_and(sorted(set(work.environment["devices"])))
    versions = work.results.get("provenance", {}).get("versions", [])
    platforms = sorted({version["platform"] for version in versions})
    if devices == "cpu" and any(platform != "cpu" for platform in platforms):  # with Ray
        return f"{devices}; the networks were trained on: {', '.join(platforms)}"
    return devices


def _data(work: WorkFolder) -> str:
    results, background = work.results, work.config["data"]["background"]
    roi = work.config["data"].get("roi", {})  # absent in studies of 0.2.0
    extent_mm = roi.get("extent_mm", 25.6)
    parts = []
    for c in results["collections"]:
        views = c["views"]["malignant"] + c["views"]["benign"]
        lesions = c["lesions"]["malignant"] + c["lesions"]["benign"]
        modality = ", ".join(filter(None, c["modality"])) or "modality not stated"
        parts.append(
            f"{c['name']} ({modality}; {views} views of {lesions} lesions, "
            f"{c['lesions']['malignant']} malignant, of {c['cases']} {_cases(work, c['name'])}; "
            "reference standard: "
            f"{', '.join(c['truth_source'])})"
        )
    corrected = (
        "The background was corrected by a distance-weighted estimate from the ROI's edges, with "
        f"boxes of {background['along_mm']:g} mm by {background['depth_mm']:g} mm (Chan et al. "
        "1995)."
        if background["correct"]
        else "The background was not corrected."
    )
    interpolated = (
        "Images with coarser pixels were interpolated by cubic convolution. "
        if roi.get("upsample")
        else ""
    )
    blanked = (
        f"As a control, a disc of {roi['blank_mm']:g} mm in the center of each ROI was blanked. "
        if roi.get("blank_mm")
        else ""
    )
    simulated = "Simulated images (a phantom) were used. " if phrases.is_phantom(work) else ""
    return (
        f"{simulated}The data were {phrases.join_and(parts)}. Each view was averaged to a pixel "
        f"size of {extent_mm / 0.128:g} µm, and an ROI of 128 × 128 pixels ({extent_mm:g} mm) "
        f"centred on the lesion was extracted. {interpolated}{corrected} {blanked}"
        f"Each collection was standardized by the mean and standard deviation of its "
        f"training pixels. The target was {results['target']}; {results['split']['train']} of its "
        f"cases were used for training and {results['split']['test']} for testing, split by case "
        f"({results['split']['rule']})."
    )


def _cases(work: WorkFolder, name: str) -> str:
    if work.cases_are(name) == GROUPS:
        return "groups of images, which take the place of patients because there are no patient ids"
    return "cases"


def _network(work: WorkFolder) -> str:
    initialization = INITIALIZATIONS[work.config["model"]["initialization"]]
    frozen = ", ".join(work.runs[0]["frozen"]) or "none"
    trained = "; ".join(
        f"{phrases.approach_name(approach)} was trained on "
        f"{phrases.join_and(phrases.tasks_of(work, approach))}{_permuted_labels(work, approach)}"
        for approach in work.approaches
    )
    return (
        f"{_backbones(work)} {_weights(work)}; all other layers were initialized "
        f"randomly, the fully connected layers with {initialization}. Frozen layers: {frozen}. "
        f"{trained}."
    )


def _permuted_labels(work: WorkFolder, approach: str) -> str:
    """Return how an approach permutes labels, or '' if it permutes none."""
    labels = phrases.permuted_labels(work, approach)
    if not labels:
        return ""
    tasks = phrases.tasks_of(work, approach)[1:]
    groups = [task for task in tasks if work.cases_are(task) == GROUPS]
    of_lesions = f"; in {phrases.join_and(groups)}, of lesions in place of cases" if groups else ""
    return (
        f"{labels} (a control: the label of a case, malignant if any of its lesions is, was that of"
        f" a random case of the same collection, the same in all folds{of_lesions})"
    )


def _backbones(work: WorkFolder) -> str:
    heads = {run["heads"] for run in work.runs if "heads" in run} or {"shared"}
    shape = phrases.join_and(sorted("one output layer for all collections" if h == "shared" else
                                "an output layer for each collection" for h in heads))  # fmt: skip
    nodes = "4096, 4096, 1000, 100 and 2 nodes"
    backbones = networks.list_backbones(work)
    sizes = {b.text.name: b.text.input_size for b in backbones if b.text.input_size}
    resampled = "".join(
        f" ROIs were resampled to {size} × {size} pixels (bicubic) for {name}."
        for name, size in sizes.items()
    )
    if len(backbones) == 1:
        return f"The network was {backbones[0].text.network} ({nodes}), with {shape}.{resampled}"
    texts = [
        f"the network of {phrases.join_approaches(backbone.approaches)} was {backbone.text.network}"
        for backbone in backbones
    ]
    return (
        f"T{'; '.join(texts)[1:]}. The fully connected layers had {nodes}, with {shape}.{resampled}"
    )


def _weights(work: WorkFolder) -> str:
    """Return the origin of the pretrained layers, without a full stop."""
    starts = networks.list_starts(work)
    texts = []
    for start in starts:
        layers, weights = ", ".join(start.run["pretrained"]), start.weights
        note = f" ({weights['note'].rstrip('.')})" if start.builtin else ""
        text = f"weights of {layers or 'no layers'} were those of {weights['name']}{note}"
        of = f"in {phrases.join_approaches(start.approaches)}, " if len(starts) > 1 else ""
        texts.append(of + text)
    text = "; ".join(texts)
    return text[0].upper() + text[1:]


def _training(work: WorkFolder) -> str:
    t, unmatched = work.config["train"], [run for run in work.runs if not _matches_steps(run)]
    epochs = _list_epochs(unmatched or work.runs)
    optimizer = OPTIMIZERS.get(t["optimizer"], t["optimizer"]).format(**t)
    schedule = SCHEDULES.get(t["schedule"], f"from {{}} to {{}} (schedule {t['schedule']})")
    rates = schedule.format(f"{t['learning_rate']:g}", f"{t['final_learning_rate']:g}")
    warmup = (
        f", rising linearly in the first {100 * t['warmup']:g}% of the steps" if t["warmup"] else ""
    )
    loss = LOSSES.get(t["loss"], t["loss"]).format(**t)
    return (
        f"The networks were trained for {epochs} by {optimizer}, with batch size "
        f"{t['batch_size']}, weight decay {t['weight_decay']:g}, a learning rate {rates}{warmup}, "
        f"and dropout {work.config['model']['dropout']:g}; the loss was {loss}."
        f"{_matched_steps(work)}{_early_stopping(work)} Each epoch used each ROI in eight "
        "orientations (rotations and reflections). The score of an ROI was the mean probability of "
        "malignancy over the eight orientations; the score of a lesion was the mean over its "
        f"views. {_initializations(work)} (seed {work.config['seed']}); random splits used "
        f"split seed {work.config['split_seed']}.{_precision(work)}"
    )


def _precision(work: WorkFolder) -> str:
    """Return a sentence on the precision of training and scoring; '' if the runs record none."""
    records = [run["provenance"] for run in work.runs if "precision" in run.get("provenance", {})]
    if not records:
        return ""
    platforms = {record["platform"] for record in records}
    devices = phrases.join_and(sorted(PLATFORMS.get(p, p) for p in platforms))
    # Earlier versions recorded JAX's setting instead; None was its default.
    levels = {record["precision"]["matmul"] for record in records} - {"highest"}
    if platforms == {"cpu"}:
        levels -= {None}
    if levels:
        level = phrases.join_and(sorted(level or "default" for level in levels))
        scoring = f"float32, with matrix products and convolutions of the precision {level} of JAX"
        scoring += " (TF32 on recent NVIDIA GPUs)" if None in levels else ""
    else:
        scoring = "float32 without TF32" if "gpu" in platforms else "float32"
    trained = work.config["train"].get("precision", "float32")
    training = {
        "tf32": "float32 with matrix products and convolutions in TF32 where the GPU has it",
        "bfloat16": "bfloat16, with parameters in float32,",
    }.get(trained if trained != "tf32" or "gpu" in platforms else "float32")
    used = f"Training used {training} and scoring" if training else "Training and scoring used"
    deterministic = (
        " Operations on GPUs were deterministic."
        if "gpu" in platforms and all(record.get("deterministic") for record in records)
        else ""
    )
    return f" {used} {scoring}, on {devices}.{deterministic}"


def _matches_steps(run: Mapping[str, Any]) -> bool:
    return has_option(run["approach"], MATCHED_STEPS)


def _list_epochs(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the distinct numbers of epochs of runs: '3 and 9 epochs'."""
    epochs = sorted({run["epochs"] for run in runs})
    plural = "" if epochs == [1] else "s"
    return f"{phrases.join_and([str(e) for e in epochs])} epoch{plural}"


def _matched_steps(work: WorkFolder) -> str:
    """Return a sentence on runs with more epochs for as many steps as others, or ''."""
    reason = "so that each run took at least as many steps as a run on all collections"
    if work.config["train"].get("match_steps"):
        return f" Runs on fewer ROIs had more epochs, {reason}."
    matched = [a for a in work.approaches if has_option(a, MATCHED_STEPS)]
    if not matched:
        return ""
    epochs = _list_epochs([run for run in work.runs if _matches_steps(run)])
    plural = "was" if len(matched) == 1 else "were"
    return f" {phrases.join_approaches(matched)} {plural} trained for {epochs}, {reason}."


def _early_stopping(work: WorkFolder) -> str:
    """Return a sentence on early stopping, or '' without it."""
    stopping = work.config["train"]["early_stopping"]
    if not stopping["fraction"]:
        return ""
    return (
        f" Of the target's training {work.clusters([work.results['target']])}, "
        f"{100 * stopping['fraction']:g}% were not trained on: "
        f"a run ended when {stopping['patience']} evaluations in a row, every "
        f"{stopping['interval']} epochs, did not lower the cross-entropy of their ROIs, and the "
        "weights with the lowest value were used."
    )


def _initializations(work: WorkFolder) -> str:
    count = work.initializations
    return "There was one initialization" if count == 1 else f"There were {count} initializations"


def _statistics(work: WorkFolder) -> str:
    clusters = work.clusters(plural=False)
    tested = [test for test in work.results["comparisons"] if test["p_value"] is not None]
    methods = dict.fromkeys(test["method"] for test in tested)
    compared = (
        " Paired differences were tested with two-sided tests by "
        f"{phrases.join_and([phrases.method_name(m) for m in methods])}, "
        f"clustered by {clusters}."
        if methods
        else ""
    )
    stages = phrases.join_and([s["title"] for s in work.results["stages"]])
    selected = "".join(
        f" The {field} was selected by this rule: {selection['rule']}; the result was "
        f"{selection['chosen']}."
        for field, selection in work.results["selection"].items()
    )
    compared += statements.describe_declaration(work)
    auc_methods = {row["method"] for row in work.results["auc"]}
    estimator = work.results["auc"][0]["estimator"] if work.results["auc"] else ""
    mean = f", {estimator}" if estimator.startswith("mean") else ""
    fitted = "empirical and of maximum-likelihood proper binormal curves (Metz and Pan 1999)"
    return (
        f"Stages of the study: {stages}.{selected} AUCs were "
        f"{fitted if 'proper' in auc_methods else 'empirical'}{mean}, with 95% confidence "
        f"intervals clustered by {clusters} (Obuchowski 1997).{compared}"
    )


def _analyses(work: WorkFolder) -> str:
    a: Mapping[str, Any] = work.config["analysis"]
    gradients = f"(Sundararajan et al. 2017; {a['steps']} steps, with the mean gray as baseline)."
    backbones = networks.list_backbones(work)
    projected = [backbone.text.name for backbone in backbones if not backbone.text.no_maps]
    of = f" of {phrases.join_and(projected)}" if len(projected) < len(backbones) else ""
    maps = (
        f"Feature maps{of} were projected to pixels by a deconvolutional network (Zeiler and "
        f"Fergus 2014), and integrated gradients were computed {gradients}"
        if projected
        else f"Integrated gradients were computed {gradients}"
    )
    text = (
        "Features of the layers F1 to F4, averaged over the eight orientations, were embedded by "
        f"t-SNE (openTSNE; perplexity {a['perplexity']:g}, learning rate 500, "
        f"{a['iterations']} iterations, momentum 0.5, {a['n_init']} random "
        "initializations, of which the one with the lowest cost was kept), for at most "
        f"{a['max_rois']} ROIs of each collection. The separation of the collections was measured "
        "by the silhouette score and the squared maximum mean discrepancy, with jackknife "
        f"standard errors over cases. {maps}"
    )
    if "conventional" in work.results:
        text += (
            " For comparison, hand-crafted features of shape, texture and spiculation of the "
            "target's masses were classified by shrunken linear discriminant analysis and by a "
            "random forest of 500 trees (scikit-learn)."
        )
    return text
