"""All settings with their defaults, their sources in the paper, and the rules they must meet.

Sections and equations are those of Samala et al. 2017. Imports no JAX and no I/O, so that invalid
settings fail before JAX loads.
"""

import functools
import json
import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from mtl_jax import old_names
from mtl_jax.config_diff import fill_missing, flatten
from mtl_jax.io import paths, user_folders
from mtl_jax.io.user_folders import CHECKPOINTS
from mtl_jax.types import ROI_PIXELS, InputError

NETWORKS = ("C0", "C1", "C1-C2", "C1-C3", "C1-C4", "C1-C5")
APPROACHES = {  # each with its options
    "mttl": ("heads", "without", "weight", "labels", "steps", "backbone", "weights"),
    "sttl": ("of", "steps", "backbone", "weights"),
}
# The options that make an approach a control (docs/method.md).
PERMUTED_LABELS = "labels=permuted"
MATCHED_STEPS = "steps=matched"
SINGLE_TASK = "sttl"  # the approach of splits (3.1) and depth (3.2)
# The stages of each job in order; the choice of one stage is used by the next.
STAGES = {
    "test": ("test",),
    "cross_validation": ("cross_validation",),
    "splits": ("splits",),
    "depth": ("depth",),
    "paper": ("splits", "depth", "cross_validation", "test"),
    "learning_curve": ("learning_curve",),
    "seeds": ("seeds",),
}
# The module of each stage. A new stage needs a line here, its studies in STAGES, and a section.
STAGE_MODULES = {
    "splits": "mtl_jax.experiments.stages.splits",
    "depth": "mtl_jax.experiments.stages.depth",
    "cross_validation": "mtl_jax.experiments.stages.cross_validation",
    "test": "mtl_jax.experiments.stages.independent_test",
    "learning_curve": "mtl_jax.experiments.stages.learning_curve",
    "seeds": "mtl_jax.experiments.stages.seeds",
}
PRETRAINING = "pretraining"  # the job that trains the convolutions before any transfer
# The registry of the backbones: name, and the module that defines it (docs/howto/new_backbone.md).
BACKBONES = {
    "alexnet": "mtl_jax.models.alexnet",
    "vgg16": "mtl_jax.models.vgg",
    "resnet18": "mtl_jax.models.resnet",
    "resnet50": "mtl_jax.models.resnet50",
    "vit_s16": "mtl_jax.models.vit",
}
HEADS = ("shared", "per_task")
EXPECTED_WEIGHT = "an approach that trains on a collection with a loss weight above 0"
PRESETS = ("paper", "demo")
IMAGENET = "imagenet"  # config.weights: the folder that `mtl-jax convert` writes
IMAGENET_STUDIES = ("splits", "depth", "paper")  # the paper preset starts from ImageNet
INITIALIZATIONS = ("he", "krizhevsky2012", "cuda_convnet2")
BUILTIN_WEIGHTS = ("shipped", "analytic", "random")  # config.weights; any other value is a folder
ALEXNET = "alexnet"  # the backbone of the paper
ALEXNET_WEIGHTS = ("shipped", "analytic")
UNITS = ("view", "lesion")
PRIMARY_TESTS = ("obuchowski", "proper", "bootstrap")
CACHES = ("auto", "off")
STREAMS = ("auto", "always")
EXECUTORS = ("local", "ray")
KEEP = ("last", "all")
UNUSABLE = ("reject", "leave_out")
PRETRAINING_HEADS = ("fully_connected", "pooled")
PRETRAINING_INITIALIZATIONS = ("random", "analytic")
PRECISIONS = ("float32", "tf32", "bfloat16")
# Lists, so that a config file can append a name of its own (docs/howto/new_loss.md).
LOSSES = ["cross_entropy", "focal"]
OPTIMIZERS = ["sgd", "adamw"]
SCHEDULES = ["exponential", "cosine", "steps"]
WRITERS = ["csv", "tensorboard"]
# Settings that name a file or folder; SOURCES do so after a colon.
PATHS = ("weights", "data.cache", "data.crosswalk", "data.cmmd.boxes")
SOURCES = ("data.sources", "pretraining.images")
TRUTH_POLICIES = ("biopsy", "biopsy_or_followup", "biopsy_followup_or_unstated", "birads")


def default() -> ConfigDict:
    """Return the settings of the paper, with the phantom collections as data."""
    c = ConfigDict()

    # The study
    c.preset = "paper"  # or demo: set by --config=FILE:PRESET
    c.study = "test"  # test: train on all training cases, then the test set (3.3);
    #                   cross_validation: every training case scored out of fold (2.4);
    #                   splits (3.1), depth (3.2), learning_curve, seeds;
    #                   paper: splits, depth, cross_validation, test
    c.approaches = ("mttl", "sttl")  # multi-task (all collections), single-task (the target);
    #     with options: mttl+heads=per_task, mttl+weight.NAME=2, mttl+without=NAME (or each),
    #     sttl+of=NAME (or each); mttl+backbone=NAME and mttl+weights=NAME (sttl too) instead of
    #     model.backbone and weights; this NAME is shipped, analytic, random, imagenet or a folder
    #     in checkpoints. Controls: mttl+labels=permuted permutes the labels of the other
    #     collections in training; sttl+steps=matched takes as many steps as a run on all
    #     collections (also mttl+without=NAME+steps=matched). Splits and depth are always
    #     single-task
    c.network = "C1"  # the frozen convolutions: C0 (none), C1 ... C1-C5 (2.3; chosen in 3.2)
    c.weights = "shipped"  # checkpoints/formulas; imagenet: checkpoints/alexnet_imagenet;
    #     analytic: Gabor filters in C1; random; or a folder made by mtl-jax convert
    c.split = 1  # number of the partition into folds, if no stage of the study chooses it
    c.folds = 4  # number of folds of the target's training cases (2.4)
    c.split_seed = 0  # seed of the test set, the folds and the subsets of cases
    c.seed = 0  # seed of initial weights, epoch order and dropout; one random stream per
    #     initialization

    # The stages of the study
    c.splits = ConfigDict()  # choose a representative partition into folds (3.1)
    c.splits.count = 10  # partitions
    c.splits.networks = (
        "C1",
        "C1-C3",
    )  # frozen convolutions to train on each (3.1)
    c.splits.initializations = 2  # of each network (3.1)
    c.depth = ConfigDict()  # choose how many convolutions to freeze (3.2)
    c.depth.networks = NETWORKS  # frozen convolutions that are compared (3.2)
    c.depth.initializations = 10  # of each network (3.2)
    c.cross_validation = ConfigDict()  # both approaches on the chosen split and network (2.3, 3.3)
    c.cross_validation.initializations = 10  # of each approach (2.3)
    c.test = ConfigDict()  # both approaches on the independent test set (3.3)
    c.test.initializations = 1  # 3 or more add the variance between initializations
    c.learning_curve = ConfigDict()  # AUC by the number of training cases of the target
    c.learning_curve.target_cases = (10, 20, 40, 80)  # nested subsets of the training cases
    c.learning_curve.subsets = 5  # random subsets of each size, an initialization each
    c.seeds = ConfigDict()  # the spread of the test-set AUC over initializations
    c.seeds.initializations = 10  # of each approach
    c.selection = ConfigDict()
    c.selection.unit = "view"  # or lesion: the AUC that split and network are chosen by

    # The data
    c.data = ConfigDict()
    c.data.sources = ("phantom:sfm", "phantom:ddsm", "phantom:dm")  # name:path of each
    c.data.target = "sfm"  # the collection that is tested
    c.data.test_fraction = 0.5  # of the target's cases, if its source marks no test set
    c.data.test_each = False  # True: every collection has a test set, not the target alone
    c.data.crosswalk = placeholder(str)  # CSV of patient_id and ddsm_case, for CBIS-DDSM with DDSM
    c.data.cache = placeholder(str)  # folder of shards and phantom files, shared by all jobs; None:
    #     MTL_JAX_CACHE, else ~/.cache/mtl_jax (mtl-jax cache)
    # Accepted reference standards: biopsy is the strictest, birads takes any. mini-MIAS and many
    # manifests state none.
    c.data.truth_policy = "biopsy_followup_or_unstated"
    c.data.strict = False  # True: reject a collection in which a value was corrected
    c.data.unusable = "reject"  # unreadable images end the job; leave_out: their lesions are listed
    c.data.pseudonymise = True  # hash ids and file names that are not published pseudonyms
    c.data.workers = 1  # processes that read images, up to 1 GiB each; no effect on results
    c.data.roi = ConfigDict()
    c.data.roi.extent_mm = 25.6  # side of the ROI (2.1), always 128 pixels
    c.data.roi.upsample = False  # True: interpolate images with coarser pixels than the ROI
    c.data.roi.blank_mm = 0.0  # diameter of a disc in its center that is blanked, as a control
    c.data.background = ConfigDict()
    c.data.background.correct = True  # background correction: Chan 1995a, Sahiner 1996 (2.1)
    c.data.background.along_mm = 3.2  # size of the averaging box along the edge
    c.data.background.depth_mm = 1.6  # and across the edge
    c.data.cbis_ddsm = ConfigDict()
    c.data.cbis_ddsm.parts = ("mass-train", "mass-test")  # also calc-train, calc-test
    c.data.cbis_ddsm.pixel_um = 50.0  # assumed, because the files do not state it
    c.data.cbis_ddsm.conflicts = (
        "leave_out"  # lesions labelled both benign and malignant; or malignant
    )
    c.data.cdd_cesm = ConfigDict()
    c.data.cdd_cesm.findings = ("mass",)  # prefixes of words in the column Findings
    c.data.cdd_cesm.pixel_um = placeholder(float)  # required: the files do not state it
    c.data.cmmd = ConfigDict()
    c.data.cmmd.boxes = placeholder(str)  # required: CSV of lesion boxes, which CMMD does not have
    c.data.ddsm = ConfigDict()
    c.data.ddsm.lesion_types = ("MASS",)  # also CALCIFICATION, OTHER
    c.data.inbreast = ConfigDict()
    c.data.inbreast.kinds = ("mass",)  # also spiculated_region, distortion, asymmetry ...
    c.data.inbreast.link_views = False  # True: single lesions in CC and MLO are one lesion
    c.data.manifest = ConfigDict()
    c.data.manifest.outside = False  # True: paths may leave its folder; for your own files only
    c.data.manifest.conflicts = "reject"  # lesions with both truths; or leave_out: with all views
    c.data.mini_mias = ConfigDict()
    c.data.mini_mias.classes = ("CIRC", "SPIC", "MISC")  # masses
    c.data.phantom = ConfigDict()
    c.data.phantom.cases = 150  # in each of the three collections
    c.data.phantom.target_cases = placeholder(int)  # in the target; None: as many as in the others
    c.data.phantom.seed = 0  # of the simulated images and labels
    c.data.phantom.difficulty = 0.4  # overlap of the classes, from 0 (none) to 1 (complete); 0.4
    #     is about as hard as one collection of films (docs/phantom.md)
    c.data.phantom.shared_signal = 1.0  # how far the labels of the other collections depend on the
    #     appearance of the masses, from 0 (random labels) to 1 (as in the target)
    c.data.phantom.test_fraction = 0.4  # of the cases: the official test set
    c.data.phantom.malignant_fraction = 0.4  # of the cases
    c.data.tfds = ConfigDict()
    c.data.tfds.fields = ()  # FIELD:FEATURE pairs, as in label:pathology; (): those of a
    #     supported dataset
    c.data.tfds.pixel_um = placeholder(float)  # if no feature states it
    c.data.tfds.modality = ""  # SFM or DM
    c.data.tfds.truth_source = "unstated"  # reference standard of all labels

    # The network
    c.model = ConfigDict()
    c.model.backbone = ALEXNET  # Table 3; or another of BACKBONES, with pretrained weights for it
    c.model.dropout = 0.5  # after F1 and F2 (2.2)
    c.model.initialization = "he"  # of new layers and biases; or krizhevsky2012 (2.2),
    #     cuda_convnet2 (compared in docs/method.md)
    c.model.heads = "shared"  # one F5 for all collections (2.3); per_task: one for each

    # The training (2.2)
    c.train = ConfigDict()
    c.train.epochs = 200  # passes over the training ROIs (2.2)
    c.train.match_steps = False  # True: more epochs for runs with fewer ROIs, so that each
    #     takes at least as many steps as a run on all collections
    c.train.batch_size = 128  # ROIs of a step, over all devices (2.2)
    c.train.learning_rate = 0.001  # of the first step (2.2)
    c.train.final_learning_rate = 0.00004  # of the last step; the decay is exponential
    c.train.momentum = 0.9  # of sgd (2.2)
    c.train.weight_decay = 0.0005  # of the trained parameters (2.2)
    c.train.loss = "cross_entropy"  # or focal (Lin et al. 2017)
    c.train.focal_gamma = 2.0  # of the focal loss; 0 is the cross-entropy
    c.train.optimizer = "sgd"  # (2.2); or adamw, which has no momentum setting
    c.train.schedule = "exponential"  # of the learning rate, from the first to the final (2.2);
    #     cosine; or steps, which divides it by ten at equal intervals
    c.train.warmup = 0.0  # fraction of the steps in which the rate rises linearly from 0
    c.train.precision = "float32"  # of products and convolutions in training steps; tf32 is
    #     faster on NVIDIA GPUs since 2020, and the same as float32 on CPUs; bfloat16. Parameters,
    #     scores and cached activations are float32 (docs/scaling.md)
    c.train.task_weights = ()  # name:weight of a collection in the loss; default 1
    c.train.checkpoint_minutes = 10.0  # between two checkpoints, from which a job resumes; 0: each
    #     epoch
    c.train.validation_epochs = 5  # record loss and AUC of the held-out fold every N epochs and
    #     in the last; 0: never. Nothing is selected by them
    c.train.early_stopping = ConfigDict()  # by the loss on training patients that are left out
    c.train.early_stopping.fraction = 0.0  # of the target's training patients; 0: off (2.2)
    c.train.early_stopping.interval = 5  # epochs between two evaluations
    c.train.early_stopping.patience = 5  # evaluations in a row that do not lower the loss
    c.train.writers = ()  # of the metrics, beside history.jsonl: csv, tensorboard (needs its extra)

    # Pretraining (configs/pretrain.py)
    c.pretraining = ConfigDict()
    c.pretraining.images = "synthetic"  # or folder:PATH, or tfds:NAME
    c.pretraining.shapes = True  # synthetic images with lobes and rays, too (docs/transfer.md)
    c.pretraining.size = 128  # image size in pixels
    c.pretraining.small_size = 64  # image size in the first epochs
    c.pretraining.small_epochs = 0  # number of those epochs
    c.pretraining.images_per_epoch = 131072  # synthetic images drawn for an epoch
    c.pretraining.validation_images = 8192  # synthetic images that are only evaluated
    c.pretraining.head = "fully_connected"  # or pooled: global average pooling
    c.pretraining.initialization = "random"  # or analytic: Gabor filters in C1
    c.pretraining.weight_standardization = False  # kernels of mean 0 and variance 1

    # The statistics
    c.statistics = ConfigDict()
    c.statistics.bootstrap = 2000  # resamples of the patients
    c.statistics.primary = ConfigDict()  # the one primary comparison; all others are secondary.
    #     It is recorded in folds.json before any training
    c.statistics.primary.unit = "lesion"  # or view
    c.statistics.primary.test = "obuchowski"  # empirical AUCs; proper: fitted AUCs; or bootstrap
    c.statistics.primary.pair = ()  # (a, b) tests a - b; (): the first two of
    #     config.approaches that are tested on the target

    # Analyses of the trained networks
    c.analysis = ConfigDict()
    c.analysis.enabled = True  # False: none of these, and no conventional CAD
    c.analysis.max_rois = 400  # maximum number of training ROIs of each collection, and of test
    #     ROIs
    c.analysis.perplexity = 30.0  # t-SNE
    c.analysis.iterations = 5000  # t-SNE
    c.analysis.n_init = 10  # t-SNE: initializations; the one of lowest cost is kept
    c.analysis.maps = 6  # deconvolution maps per layer
    c.analysis.explained = 1  # number of highest- and of lowest-scoring ROIs of each class to
    #     explain
    c.analysis.roi_ids = ()  # roi_id of further ROIs of the target to explain
    c.analysis.steps = 64  # steps of integrated gradients
    c.analysis.show_rois = True  # False: no ROI in the report, as some licences require
    c.analysis.threshold = 0.5  # score above which the gallery counts an ROI as malignant
    c.analysis.gallery = 12  # misclassified ROIs shown of each kind, worst first
    c.analysis.conventional = True  # compare with LDA and random forest on hand-crafted features

    c.keep_weights = "last"  # keep the weights of runs of the last stage (not of splits, depth,
    #     learning curves); all: of every run, 0.1 to 0.25 GB each

    # Devices and processes
    c.devices = 1  # devices over which each batch, or the replicas, are divided
    c.deterministic = False  # True: deterministic operations on GPUs, so that a resumed job gives
    #     bit-identical results, as it does on CPUs in any case; some operations are slower
    c.replicas = placeholder(int)  # maximum number of runs, differing only in seed or fold, that
    #     train together; None: on each GPU as many as fit, at most 16; on CPUs one per device
    c.feature_cache = "auto"  # compute activations of frozen layers once; off: in each step
    c.stream = "auto"  # read ROIs from disk by batch if they would fill 15% of the device's
    #     memory; always: in any case. No effect on results
    c.accept_versions = False  # True: continue runs and checkpoints of other versions or platforms
    #     and mark the results as mixed; set by --accept_versions
    c.executor = "local"  # runs in this process; ray: each run is a task of a Ray cluster
    c.ray = ConfigDict()  # needs the [ray] extra
    c.ray.address = placeholder(str)  # of a running cluster, or auto; None: start one here
    c.ray.cpus = 1.0  # requested by each run
    c.ray.gpus = placeholder(float)  # requested by each run: 0 (the CPU computes), a fraction of
    #     one GPU, or an integer; None: as many as devices if the cluster has GPUs, otherwise 0
    return c


def apply_preset(c: ConfigDict, preset: str) -> ConfigDict:
    """Return `c` for the preset 'paper', or for 'demo', which is short and for two CPU cores.

    It sets the network, too: set another one afterwards.
    """
    if preset not in PRESETS:
        raise InputError(f"preset {preset!r} of --config is invalid: expected paper or demo")
    c.preset = preset
    if preset == "paper" and c.study in IMAGENET_STUDIES:
        c.weights = IMAGENET
    if preset == "demo":
        c.cross_validation.initializations = 1
        c.network = "C1-C3"  # the activations of frozen layers are computed once
        c.train.epochs = 3
        c.train.batch_size = 64  # a step of 64 ROIs takes little longer than one of 32
        c.train.validation_epochs = 1
        c.train.learning_rate = 0.016  # most layers are random at first and few batches are seen
        c.train.final_learning_rate = 0.0016
        c.data.phantom.cases = 120
        c.data.phantom.test_fraction = 0.6  # scoring is cheap, and more cases narrow the interval
        c.analysis.max_rois = 60
        c.analysis.iterations = 500
        c.analysis.n_init = 1
        c.analysis.steps = 16
    return c


def add_later_settings(recorded: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    """Return `recorded` with the defaults of the settings that only `expected` has.

    Both have the sections `train` or `model`, at the top or in `settings`. The package got these
    settings after the record was written, and behaved as their defaults do.
    """
    filled = dict(recorded)
    for section in ("train", "model"):
        if isinstance(recorded.get(section), Mapping):
            defaults = default()[section].to_dict()
            later = {k: v for k, v in defaults.items() if k in expected.get(section, {})}
            filled[section] = fill_missing(recorded[section], json.loads(json.dumps(later)))
    if isinstance(recorded.get("settings"), Mapping):
        filled["settings"] = add_later_settings(recorded["settings"], expected["settings"])
    return filled


def expand_paths(c: ConfigDict) -> None:
    """Expand `~` in every setting that names a path, and set the cache if it is None.

    So config.json has the folders that are used. Raises InputError if the home folder is unknown.
    """
    if c.data.cache is None:
        c.data.cache = str(user_folders.cache())
    for fields, expand in ((PATHS, paths.expand_user), (SOURCES, paths.expand_source)):
        for field in fields:
            *sections, name = field.split(".")
            section = functools.reduce(operator.getitem, sections, c)
            value = section[name]
            if isinstance(value, str):
                section[name] = expand(value)
            elif isinstance(value, tuple):
                section[name] = tuple(expand(v) if isinstance(v, str) else v for v in value)


# The value of each setting with a fixed set of values.
CHOICES = {
    "preset": PRESETS,
    "study": (*STAGES, PRETRAINING),
    "model.backbone": BACKBONES,
    "model.heads": HEADS,
    "model.initialization": INITIALIZATIONS,
    "executor": EXECUTORS,
    "keep_weights": KEEP,
    "feature_cache": CACHES,
    "stream": STREAMS,
    "data.truth_policy": TRUTH_POLICIES,
    "data.unusable": UNUSABLE,
    "train.loss": LOSSES,
    "train.optimizer": OPTIMIZERS,
    "train.schedule": SCHEDULES,
    "train.precision": PRECISIONS,
    "selection.unit": UNITS,
    "statistics.primary.unit": UNITS,
    "statistics.primary.test": PRIMARY_TESTS,
    "pretraining.head": PRETRAINING_HEADS,
    "pretraining.initialization": PRETRAINING_INITIALIZATIONS,
}
# The range of each number: the rule, whether a value meets it, and the settings.
RANGES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    (
        "an integer >= 1",
        lambda v: v >= 1,
        "devices train.epochs train.batch_size splits.count "
        "train.early_stopping.interval train.early_stopping.patience "
        "splits.initializations depth.initializations cross_validation.initializations "
        "test.initializations learning_curve.subsets seeds.initializations analysis.n_init "
        "analysis.maps analysis.explained analysis.steps analysis.gallery "
        "pretraining.images_per_epoch pretraining.validation_images",
    ),
    ("an integer >= 1, or None", lambda v: v is None or v >= 1, "replicas"),
    ("a number >= 2", lambda v: v >= 2, "analysis.perplexity"),
    ("an integer >= 2", lambda v: v >= 2, "folds"),
    ("an integer >= 8", lambda v: v >= 8, "analysis.max_rois"),
    ("an integer >= 50", lambda v: v >= 50, "analysis.iterations"),
    ("an integer >= 100", lambda v: v >= 100, "statistics.bootstrap"),
    ("an integer >= 0", lambda v: v >= 0, "train.validation_epochs"),
    (
        "a number >= 0",
        lambda v: 0 <= v < math.inf,
        "train.weight_decay train.focal_gamma train.checkpoint_minutes ray.cpus",
    ),
    (
        "0, a number in (0, 1), an integer >= 1, or None",
        lambda v: v is None or 0 <= v < 1 or (v >= 1 and float(v).is_integer()),
        "ray.gpus",
    ),
    ("a number > 0", lambda v: 0 < v < math.inf, "train.learning_rate"),
    ("a number in (0, 1)", lambda v: 0 < v < 1, "analysis.threshold"),
    (
        "a number in [0, 1)",
        lambda v: 0 <= v < 1,
        "data.test_fraction model.dropout train.momentum train.warmup",
    ),
    ("a number in [0, 0.5]", lambda v: 0 <= v <= 0.5, "train.early_stopping.fraction"),
    (
        "a number in [0, 1]",
        lambda v: 0 <= v <= 1,
        "data.phantom.difficulty data.phantom.shared_signal data.phantom.test_fraction "
        "data.phantom.malignant_fraction",
    ),
    (
        "an integer in [0, 2147483647]",
        lambda v: 0 <= v < 2**31,
        "seed split_seed data.phantom.seed",
    ),
    ("a number in [5, 200]", lambda v: 5 <= v <= 200, "data.roi.extent_mm"),
    ("an integer in [1, 256]", lambda v: 1 <= v <= 256, "data.workers"),
    ("an integer in [1, 1000]", lambda v: 1 <= v <= 1000, "split"),
    ("an integer in [1, 99999]", lambda v: 1 <= v < 10**5, "data.phantom.cases"),
    (
        "an integer in [1, 99999] or None",
        lambda v: v is None or 1 <= v < 10**5,
        "data.phantom.target_cases",
    ),
    (
        "an integer in [64, 512]",
        lambda v: 64 <= v <= 512,
        "pretraining.size pretraining.small_size",
    ),
)


def validate(c: ConfigDict) -> None:
    """Raise InputError for the first invalid setting or combination of settings."""
    _reject_unknown_fields(c)
    for field, choices in CHOICES.items():
        _require_one_of(field, operator.attrgetter(field)(c), choices)
    for rule, is_valid, fields in RANGES:
        for field in fields.split():
            _require(c, field, is_valid(operator.attrgetter(field)(c)), rule)
    for name in c.train.writers:
        _require_one_of("train.writers", name, WRITERS)
    distinct = len(set(c.train.writers)) == len(c.train.writers)
    _require(c, "train.writers", distinct, "distinct names")
    freeze_depth(c.network)
    for approach in c.approaches:
        parse_approach(approach)
    _validate_backbones(c)
    _require(c, "approaches", bool(c.approaches), "at least one of mttl, sttl")
    _require(c, "approaches", len(set(c.approaches)) == len(c.approaches), "distinct values")
    _require(
        c,
        "approaches",
        c.study not in ("splits", "depth") or tuple(c.approaches) == (SINGLE_TASK,),
        f"({SINGLE_TASK!r},): the study {c.study!r} trains on the target only",
    )
    _validate_sources(c)
    _validate_blank(c)
    _require(
        c,
        "weights",
        c.preset != "paper" or c.study not in IMAGENET_STUDIES or c.weights not in BUILTIN_WEIGHTS,
        f"'{IMAGENET}' or a folder of ImageNet convolutions, as in the paper (study {c.study}, "
        "preset paper); --config=FILE:demo needs none",
    )
    _validate_statistics(c)
    divisible = c.train.batch_size % c.devices == 0
    _require(c, "train.batch_size", divisible, f"a multiple of devices ({c.devices})")
    sufficient = c.executor != "ray" or not c.ray.gpus or c.devices == 1 or c.ray.gpus >= c.devices
    rule = f"None, 0, or an integer >= devices ({c.devices}), which each run uses"
    _require(c, "ray.gpus", sufficient, rule)
    falling = 0 < c.train.final_learning_rate <= c.train.learning_rate
    rule = "a number > 0 and <= train.learning_rate"
    _require(c, "train.final_learning_rate", falling, rule)
    valid = not (c.train.match_steps and c.train.early_stopping.fraction)
    rule = "False with train.early_stopping, which ends runs after different numbers of steps"
    _require(c, "train.match_steps", valid, rule)
    if c.train.schedule == "steps":
        divisions = math.log10(c.train.learning_rate / c.train.final_learning_rate)
        rule = "train.learning_rate divided by a power of ten, with train.schedule='steps'"
        valid = abs(divisions - round(divisions)) < 1e-6
        _require(c, "train.final_learning_rate", valid, rule)
    _validate_approaches(c)
    _validate_stages(c)
    for field, value in (("train.loss", "cross_entropy"), ("train.early_stopping.fraction", 0.0)):
        unchanged = operator.attrgetter(field)(c) == value
        rule = f"{value!r}, the only value for pretraining"
        _require(c, field, c.study != PRETRAINING or unchanged, rule)
    small, pooled = c.pretraining.small_epochs, c.pretraining.head == "pooled"
    rule = "an integer >= 0 and <= train.epochs"
    _require(c, "pretraining.small_epochs", 0 <= small <= c.train.epochs, rule)
    rule = "0 unless pretraining.head is pooled"
    _require(c, "pretraining.small_epochs", not small or pooled, rule)
    if c.study == PRETRAINING and c.pretraining.images == "synthetic":
        _require(c, "train.batch_size", c.train.batch_size % 8 == 0, "a multiple of 8")


def _validate_sources(c: ConfigDict) -> None:
    _require(c, "data.sources", bool(c.data.sources), "at least one name:path")
    for source in c.data.sources:
        if not (isinstance(source, str) and ":" in source):
            raise _error("data.sources", source, "strings of the form name:path")
    names = {re.split("[:/]", source)[0] for source in c.data.sources}
    names |= {re.split("[:/]", s)[1] for s in c.data.sources if s.startswith("tfds:")}
    _require(
        c,
        "data.sources",
        not {"cbis_ddsm", "curated_breast_imaging_ddsm"} <= names,
        "cbis_ddsm or tfds:curated_breast_imaging_ddsm, not both: they contain the same images",
    )
    if c.data.crosswalk is None:  # shards and manifests are checked when they are opened
        _require(
            c,
            "data.sources",
            "ddsm" not in names or not {"cbis_ddsm", "curated_breast_imaging_ddsm"} & names,
            "CBIS-DDSM or DDSM, not both (same patients, different ids), unless"
            " config.data.crosswalk is set",
        )


def _validate_backbones(c: ConfigDict) -> None:
    """Check that the weights of each approach can be of its backbone."""
    rule = f"{ALEXNET}, the only backbone that can be pretrained here"
    _require(c, "model.backbone", c.study != PRETRAINING or c.model.backbone == ALEXNET, rule)
    for name in c.approaches:
        _, options = parse_approach(name)
        backbone, weights = approach_network(c, name)
        if c.study in IMAGENET_STUDIES and {"backbone", "weights"} & set(options):
            rule = (
                f"no option backbone or weights in the study {c.study}, whose splits and depth are "
                "chosen with config.model.backbone and config.weights: set these"
            )
            raise _error("approaches", name, rule)
        if backbone == ALEXNET or weights not in ALEXNET_WEIGHTS:
            continue
        if "backbone" in options or "weights" in options:
            rule = (
                f"weights of {backbone}, and {weights} are of {ALEXNET}: add +weights=random, or "
                f"+weights=NAME of a folder in {CHECKPOINTS} made by mtl-jax convert"
            )
            raise _error("approaches", name, rule)
        rule = (
            f"weights of {backbone} (config.model.backbone): random, or a folder made by "
            "mtl-jax convert"
        )
        raise _error("weights", weights, rule)


def _validate_blank(c: ConfigDict) -> None:
    """Check that the blanked disc has pixels in it, and that others remain."""
    extent_mm, blank_mm = c.data.roi.extent_mm, c.data.roi.blank_mm
    two_pixels = 2 * extent_mm / ROI_PIXELS
    rule = f"0, or a number >= {two_pixels:g} (two pixels) and < data.roi.extent_mm ({extent_mm:g})"
    _require(c, "data.roi.blank_mm", blank_mm == 0 or two_pixels <= blank_mm < extent_mm, rule)


def _validate_approaches(c: ConfigDict) -> None:
    """Check what does not depend on the collections: each approach is tested and trains."""
    default_weights = parse_task_weights(c.train.task_weights)
    cross_validated = "cross_validation" in STAGES.get(c.study, ())
    for name in c.approaches:
        kind, options = parse_approach(name)
        collection = options.get("of", c.data.target)
        if collection != c.data.target and cross_validated:
            raise InputError(
                f"config.approaches={name!r} cannot be evaluated: cross-validation evaluates only"
                f" the target ({c.data.target}); remove it, or set config.study to 'test'"
            )
        weights = default_weights | approach_task_weights(options)
        unused = {task for task, weight in weights.items() if not weight}
        if kind == SINGLE_TASK:
            has_data = collection not in unused
        else:
            has_data = len(unused | {options.get("without")} - {None, "each"}) < len(c.data.sources)
        if not has_data:
            raise _error("approaches", name, EXPECTED_WEIGHT)
        if has_option(name, MATCHED_STEPS):
            _validate_matched_steps(c, name)


def _validate_matched_steps(c: ConfigDict, name: str) -> None:
    """Check that an approach with steps=matched takes other steps than without the option."""
    kind, options = parse_approach(name)
    if c.train.early_stopping.fraction:
        rule = "no option steps with train.early_stopping, which ends runs after different numbers"
        raise _error("approaches", name, f"{rule} of steps")
    rule = f"False with the option {MATCHED_STEPS} of {name!r}, which it would give every approach"
    _require(c, "train.match_steps", not c.train.match_steps, rule)
    # Subsets of the target's cases make runs on all collections shorter, too.
    if kind != SINGLE_TASK and "without" not in options and c.study != "learning_curve":
        rule = "no option steps without the option without: a run on all collections takes these"
        raise _error("approaches", name, f"{rule} steps in any case")


def approach_network(c: ConfigDict, name: str) -> tuple[str, str]:
    """Return the backbone of an approach, and its weights as `config.weights` names them."""
    _, options = parse_approach(name)
    weights = options.get("weights", c.weights)
    if "weights" in options and weights not in (*BUILTIN_WEIGHTS, IMAGENET):
        weights = f"{CHECKPOINTS}/{weights}"
    return options.get("backbone", c.model.backbone), weights


def approach_task_weights(options: Mapping[str, str]) -> dict[str, float]:
    """Return {'dm': 2.0} for the options {'weight.dm': '2'} of an approach."""
    parts = {key.partition("."): value for key, value in options.items()}
    return {task: float(value) for (option, _, task), value in parts.items() if option == "weight"}


def _validate_statistics(c: ConfigDict) -> None:
    pair = tuple(c.statistics.primary.pair)
    if pair and not len(set(pair)) == len(pair) == 2:
        raise _error("statistics.primary.pair", pair, "two different approaches, or ()")
    for name in pair:
        parse_approach(name, "statistics.primary.pair")
    for stage in {"cross_validation", "test"} & set(STAGES.get(c.study, ())):
        valid = c[stage].initializations != 2 or len(c.approaches) == 1
        rule = (
            "1, or 3 or more: two do not suffice to estimate the variance between initializations"
        )
        _require(c, f"{stage}.initializations", valid, rule)


def _validate_stages(c: ConfigDict) -> None:
    for stage in ("splits", "depth"):
        networks = c[stage].networks
        for network in networks:
            freeze_depth(network, f"{stage}.networks")
        distinct = 0 < len(networks) == len(set(networks))
        _require(c, f"{stage}.networks", distinct, "one or more distinct networks")
    sizes = c.learning_curve.target_cases
    rising = bool(sizes) and list(sizes) == sorted(set(sizes)) and sizes[0] >= 2
    _require(c, "learning_curve.target_cases", rising, "increasing integers >= 2")


def freeze_depth(network: str, field: str = "network") -> int:
    """Return the number of frozen stages: 0 for 'C0', 1 for 'C1', 3 for 'C1-C3'.

    Raises InputError, with the name of the config field, for another form. Whether the backbone has
    so many stages is checked when a study starts.
    """
    match = re.fullmatch(r"C([01])|C1-C([2-9]|[1-9]\d)", network)
    if not match:
        rule = f"one of {', '.join(NETWORKS)}, or deeper for backbones with more stages"
        raise _error(field, network, rule)
    return int(match[1] or match[2])


def parse_approach(name: str, field: str = "approaches") -> tuple[str, dict[str, str]]:
    """Return ('mttl', {'heads': 'per_task'}) for 'mttl+heads=per_task'.

    `field` is the config field named in error messages.

    Options: heads; weight.NAME, the weight of a collection in the loss; without, the collection
    left out of training; of, the collection of single-task learning; labels, permuted in the
    collections besides the target; steps, matched to those of a run on all collections; backbone;
    weights, the pretrained weights.
    """
    kind, *options = name.split("+")
    _require_one_of(field, kind, tuple(APPROACHES))
    if not re.fullmatch(r"[\w.=+-]+", name):
        rule = f"letters, digits and _ . = + - only; weights=NAME is a folder in {CHECKPOINTS}"
        raise _error(field, name, rule)
    parsed: dict[str, str] = {}
    for option in options:
        key, _, value = option.partition("=")
        option_name = "weight" if key.startswith("weight.") else key
        known = APPROACHES[kind]
        if not value or option_name not in known or key in parsed:
            raise _error(field, name, f"{kind} with options {', '.join(known)}, each once")
        choices = {
            "heads": HEADS,
            "labels": (PERMUTED_LABELS.partition("=")[2],),
            "steps": (MATCHED_STEPS.partition("=")[2],),
            "backbone": tuple(BACKBONES),
        }.get(option_name)
        if choices:
            _require_one_of(field, value, choices)
        if option_name == "weight":
            parse_task_weights([f"{key.removeprefix('weight.')}:{value}"], field)
        parsed[key] = value
    return kind, parsed


def has_option(approach: str, option: str) -> bool:
    """Return whether the name of an approach has an option, such as 'labels=permuted'."""
    return option in approach.split("+")


def parse_task_weights(items: Iterable[str], field: str = "train.task_weights") -> dict[str, float]:
    """Return {'sfm': 2.0} for ('sfm:2',); `field` is the config field named in error messages."""
    weights = {}
    for item in items:
        name, _, value = item.partition(":")
        try:
            weights[name] = float(value)
        except ValueError:
            weights[name] = -1.0
        if not 0 <= weights[name] < math.inf:
            raise _error(field, item, "name:number, such as sfm:2, with a finite number >= 0")
    return weights


def _error(field: str, value: object, rule: str) -> InputError:
    return InputError(f"config.{field}={value!r} is invalid: expected {rule}")


def _require(c: ConfigDict, field: str, valid: bool, rule: str) -> None:
    if not valid:
        raise _error(field, operator.attrgetter(field)(c), rule)


def _require_one_of(field: str, value: str, choices: Collection[str]) -> None:
    if value in choices:
        return
    similar = get_close_matches(str(value), choices, 1)
    hint = old_names.value_message(field, value) or (similar and f"did you mean {similar[0]!r}?")
    raise _error(field, value, f"one of {', '.join(choices)}" + (f" ({hint})" if hint else ""))


def _reject_unknown_fields(c: ConfigDict) -> None:
    """Raise InputError if a config file added a field, which nothing would read."""
    known = flatten(default().to_dict())
    for field in flatten(c.to_dict()):
        if field not in known:
            raise InputError(old_names.field_message(field) or describe_unknown_field(field))


def describe_unknown_field(field: str) -> str:
    """Return a message that a field does not exist, with the fields that may be meant."""
    similar = [f"config.{name}" for name in find_similar_fields(field)]
    hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
    return f"config.{field} does not exist{hint}"


def find_similar_fields(field: str) -> list[str]:
    """Return all fields with the same last name, such as 'train.epochs' for 'epochs', in any
    section; without any, the one whose full or last name is the most similar; [] if none is.
    """
    known = list(flatten(default().to_dict()))
    last_names = {name: name.rpartition(".")[2] for name in known}
    last = field.rpartition(".")[2]
    same = [name for name in known if last_names[name] == last]
    if same:
        return same
    similar = get_close_matches(field, known, 1)
    if similar:
        return similar
    similar = get_close_matches(last, set(last_names.values()), 1)
    return [name for name in known if last_names[name] in similar]
