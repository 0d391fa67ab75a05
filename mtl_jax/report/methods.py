"""A methods section for the user's own paper, filled from the config and the results.

It states what was done and claims nothing.
"""

from collections.abc import Mapping
from typing import Any

from mtl_jax.report import backbone_descriptions, phrases, statements
from mtl_jax.report.read_workdir import WorkFolder

PAPER = "Samala et al. 2017, Phys. Med. Biol. 62 8894"
INITIALIZATIONS = {
    "he": "He-normal kernels (F5: normal, standard deviation 0.01) and zero biases",
    "krizhevsky2012": "normal kernels of standard deviation 0.01, and biases of 1 in hidden fully "
    "connected layers and 0 in the output layer (Krizhevsky et al. 2012)",
    "cuda_convnet2": "normal kernels of standard deviation 0.01, and biases of 1 in F1 and F2 and "
    "0 in F3 to F5 (after cuda-convnet2), which learned at twice the learning rate without "
    "weight decay",
}


def paragraphs(work: WorkFolder) -> list[str]:
    """Data, network, training, statistics, and what was looked at, a paragraph each."""
    found = [_data(work), _network(work), _training(work), _statistics(work)]
    if work.findings:
        found.append(_analyses(work))
    versions = work.environment["packages"]
    found.append(
        f"Software: mtl_jax {versions['mtl_jax']}, JAX {versions['jax']}, Flax {versions['flax']}, "
        f"NumPy {versions['numpy']}, SciPy {versions['scipy']}, on {work.environment['platform']} "
        f"({phrases.join_and(sorted(set(work.environment['devices'])))}). "
        f"The method follows {PAPER}."
    )
    return found


def _data(work: WorkFolder) -> str:
    results, background = work.results, work.config["data"]["background"]
    parts = []
    for c in results["collections"]:
        views = c["views"]["malignant"] + c["views"]["benign"]
        lesions = c["lesions"]["malignant"] + c["lesions"]["benign"]
        modality = ", ".join(filter(None, c["modality"])) or "modality not stated"
        parts.append(
            f"{c['name']} ({modality}; {views} views of {lesions} lesions, "
            f"{c['lesions']['malignant']} malignant, of {c['cases']} cases; truth: "
            f"{', '.join(c['truth_source'])})"
        )
    corrected = (
        "The background was corrected by a distance-weighted estimate from the ROI's edges, in "
        f"boxes of {background['along_mm']:g} mm by {background['depth_mm']:g} mm (Chan et al. "
        "1995)."
        if background["correct"]
        else "The background was not corrected."
    )
    simulated = "Simulated images (a phantom) were used. " if phrases.is_phantom(work) else ""
    return (
        f"{simulated}The data were {phrases.join_and(parts)}. From each view an ROI of "
        "128 by 128 pixels of 200 um about the lesion was cut, after averaging to that pixel "
        f"size. {corrected} Each collection was standardized by the mean and standard deviation of "
        f"its own training pixels. The target was {results['target']}, of which "
        f"{results['split']['train']} cases were for training and {results['split']['test']} for "
        f"testing, by case ({results['split']['rule']})."
    )


def _network(work: WorkFolder) -> str:
    run, weights = work.runs[0], work.results["weights"]
    given = ", ".join(run["pretrained"]) or "no layers"
    frozen = ", ".join(run["frozen"]) or "none"
    note = f" ({weights['note'].rstrip('.')})" if phrases.uses_builtin_weights(work) else ""
    # Work folders of versions without this setting were made with He-normal kernels.
    initialization = INITIALIZATIONS[work.config["model"].get("initialization", "he")]
    start = f"Weights for {given} came from {weights['name']}{note}"
    heads = {run["heads"] for run in work.runs if "heads" in run} or {"shared"}
    shape = phrases.join_and(sorted("one output layer for all collections" if h == "shared" else
                                "an output layer for each collection" for h in heads))  # fmt: skip
    learned = "; ".join(
        f"{approach.upper()} learned {phrases.join_and(phrases.tasks_of(work, approach))}"
        for approach in work.approaches
    )
    return (
        f"The network was {backbone_descriptions.describe_backbone(work).network} (4096, 4096, "
        "1000, 100 and 2 nodes), "
        f"with {shape}. {start}; all other layers started at random, the "
        f"fully connected ones with {initialization}. "
        f"Frozen: {frozen}. {learned}."
    )


def _training(work: WorkFolder) -> str:
    t, epochs = work.config["train"], sorted({run["epochs"] for run in work.runs})
    return (
        f"Training took {phrases.join_and([str(e) for e in epochs])} epochs of stochastic gradient "
        f"descent in batches of {t['batch_size']}, momentum {t['momentum']:g}, weight decay "
        f"{t['weight_decay']:g}, learning rate {t['learning_rate']:g} falling exponentially to "
        f"{t['final_learning_rate']:g}, dropout {work.config['model']['dropout']:g}. Each epoch "
        "showed each ROI in its eight flips and rotations. The score of an ROI was the mean "
        "probability of malignant over the eight; that of a lesion the mean over its views. "
        f"{_initializations(work)} (seed {work.config['seed']}); test set and folds were drawn "
        f"with split seed {work.config.get('split_seed', 0)}."
    )


def _initializations(work: WorkFolder) -> str:
    count = work.initializations
    return "There was one initialization" if count == 1 else f"There were {count} initializations"


def _statistics(work: WorkFolder) -> str:
    tested = [test for test in work.results["comparisons"] if test["p_value"] is not None]
    methods = dict.fromkeys(test["method"] for test in tested)
    compared = (
        " Paired differences were tested, two-sided, by "
        f"{phrases.join_and([phrases.method_name(m) for m in methods])}, "
        "with the patient as the unit."
        if methods
        else ""
    )
    stages = phrases.join_and([s["stage"].replace("_", " ") for s in work.results["stages"]])
    chosen = "".join(
        f" The {what} was chosen by this rule: {found['rule']}; it gave {found['chosen']}."
        for what, found in work.results["selection"].items()
    )
    compared += statements.describe_declaration(work)
    aucs = {area["method"] for area in work.results["auc"]}
    estimator = work.results["auc"][0]["estimator"] if work.results["auc"] else ""
    mean = f", {estimator}" if estimator.startswith("mean") else ""
    fitted = "empirical and, by maximum likelihood, of proper binormal curves (Metz and Pan 1999)"
    return (
        f"Stages of the study: {stages}.{chosen} AUCs were "
        f"{fitted if 'proper' in aucs else 'empirical'}{mean}, with 95% confidence intervals "
        f"clustered by patient (Obuchowski 1997).{compared}"
    )


def _analyses(work: WorkFolder) -> str:
    a: Mapping[str, Any] = work.config["analysis"]
    gradients = f"(Sundararajan et al. 2017; {a['steps']} steps from the mean gray)."
    seen = (
        f"Integrated gradients were computed {gradients}"
        if backbone_descriptions.describe_backbone(work).no_maps
        else "Feature maps were projected back by a deconvolutional network (Zeiler and Fergus "
        f"2014), beside integrated gradients {gradients}"
    )
    text = (
        "Features of the layers F1 to F4, averaged over the eight orientations, were embedded by "
        f"t-SNE (openTSNE; perplexity {a['perplexity']:g}, learning rate 500, "
        f"{a['iterations']} iterations, momentum 0.5, {a['n_init']} random starts, "
        f"the lowest cost kept), for at most {a['max_rois']} ROIs of each collection. Mixing of "
        "the collections was measured by the silhouette and the squared maximum mean discrepancy, "
        f"with jackknife standard errors over cases. {seen}"
    )
    if "conventional" in work.results:
        text += (
            " For comparison, hand-crafted features of shape, texture and spiculation of the "
            "target's masses were classified by shrunken linear discriminant analysis and by a "
            "random forest of 500 trees (scikit-learn)."
        )
    return text
