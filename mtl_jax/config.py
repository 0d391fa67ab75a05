"""Every setting once, with its default and its source in the paper, and every rule among them.

Sections and equations are those of Samala et al. 2017. Knows names only: no JAX, no files.
"""

import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from mtl_jax.io import paths
from mtl_jax.types import InputError

NETWORKS = ("C0", "C1", "C1-C2", "C1-C3", "C1-C4", "C1-C5")
APPROACHES = {"mttl": ("heads", "without", "weight"), "sttl": ("of",)}  # each with its options
SINGLE_TASK = "sttl"  # the approach of splits (3.1) and depth (3.2)
# Each job and its stages in order, each feeding the next.
STAGES = {
    "test": ("test",),
    "cross_validation": ("cross_validation",),
    "splits": ("splits",),
    "depth": ("depth",),
    "paper": ("splits", "depth", "cross_validation", "test"),
    "learning_curve": ("learning_curve",),
}
PRETRAINING = "pretraining"  # the job that is no study: what is learned before any transfer
TRANSFER = "transfer"  # the same runs from several sets of weights
BACKBONES = ("alexnet", "vgg16", "resnet18")
HEADS = ("shared", "per_task")
NO_WEIGHT = "one that learns: the weights of all its collections in the loss are 0; raise one"
PRESETS = ("paper", "demo")
IMAGENET = "imagenet"  # of config.weights: the folder that tools/convert_weights.py writes
IMAGENET_STUDIES = ("splits", "depth", "paper")  # at the paper preset they start from ImageNet
INITIALIZATIONS = ("he", "krizhevsky2012", "cuda_convnet2")
OWN_WEIGHTS = ("shipped", "analytic", "random")  # of config.weights; any other is a folder
OF_ALEXNET = ("shipped", "analytic")  # of these
UNITS = ("view", "lesion")
PRIMARY_TESTS = ("obuchowski", "proper", "bootstrap")
CACHES = ("auto", "off")
STREAMS = ("auto", "always")
EXECUTORS = ("local", "ray")
KEEP = ("last", "all")
UNUSABLE = ("reject", "leave_out")
PRETRAINING_HEADS = ("fully_connected", "pooled")
PRETRAINING_INITIALIZATIONS = ("random", "analytic")
PRETRAINING_SCHEDULES = ("steps", "cosine")
PRECISIONS = ("float32", "bfloat16")
OPTIMIZERS = ("sgd", "adam")
# Which settings name a file or folder; data.sources and source.images do after a colon.
PATHS = ("weights", "transfer.weights", "data.cache", "data.crosswalk", "data.cmmd.boxes")
SOURCES_OF_FILES = ("data.sources", "pretraining.images")
TRUTH_POLICIES = ("biopsy", "biopsy_or_followup", "biopsy_followup_or_unstated", "birads")


def default() -> ConfigDict:
    """The paper's settings, on the phantom collections."""
    c = ConfigDict()

    # What is asked
    c.preset = "paper"  # the preset that the config began from, --config=FILE:PRESET; or demo
    c.study = "test"  # test: train on all training cases, then the test set (3.3);
    #                   cross_validation: every training case scored out of fold (2.4);
    #                   splits (3.1), depth (3.2), learning_curve;
    #                   paper: splits, depth, cross_validation, test
    c.approaches = ("mttl", "sttl")  # learn all collections at once, or the target alone; with
    #     options, mttl+heads=per_task, mttl+weight.NAME=2, mttl+without=NAME (or each),
    #     sttl+of=NAME (or each). Splits and depth are single-task, whatever stands here
    c.network = "C1"  # which convolutions are frozen (2.3, chosen in 3.2)
    c.weights = "shipped"  # checkpoints/formulas; imagenet: checkpoints/alexnet_imagenet;
    #     analytic: Gabor filters in C1; random; or a folder made by tools/convert_weights.py
    c.split = 1  # which partition into folds, where no stage of the study chooses it
    c.folds = 4  # of the target's training cases, by case (2.4)
    c.split_seed = 0  # of test set, folds and subsets of cases
    c.seed = 0  # of initial weights, order and dropout; each initialization has its own stream

    # The stages of the study
    c.splits = ConfigDict()  # which partition into folds represents the cases (3.1)
    c.splits.count = 10
    c.splits.networks = ("C1", "C1-C3")
    c.splits.initializations = 2
    c.depth = ConfigDict()  # how many convolutions to freeze (3.2)
    c.depth.networks = NETWORKS
    c.depth.initializations = 10
    c.cross_validation = ConfigDict()  # both approaches on the chosen split and network (2.3, 3.3)
    c.cross_validation.initializations = 10
    c.test = ConfigDict()  # both approaches on the independent test set (3.3)
    c.test.initializations = 1  # with more, results hold the variance between initializations too
    c.learning_curve = ConfigDict()  # how many cases of the target it takes
    c.learning_curve.target_cases = (10, 20, 40, 80)  # of the training cases, nested
    c.learning_curve.subsets = 5  # random subsets of the cases, each with its own initialization
    c.transfer = ConfigDict()  # how far each initialization carries (configs/transfer.py)
    c.transfer.weights = ("random", "analytic", "shipped")  # as `weights`; the last is compared
    c.transfer.initializations = 5
    c.transfer.study = "test"  # or cross_validation
    c.selection = ConfigDict()
    c.selection.unit = "view"  # whose AUC chooses split and network; or lesion

    # Which images
    c.data = ConfigDict()
    c.data.sources = ("phantom:sfm", "phantom:ddsm", "phantom:dm")  # name:path each
    c.data.target = "sfm"  # the collection that is tested
    c.data.test_fraction = 0.5  # of the target's cases, where the source marks no test set
    c.data.test_each = False  # True: of every collection's, so that each task is tested
    c.data.crosswalk = placeholder(str)  # CSV of patient_id and ddsm_case, for CBIS-DDSM with DDSM
    c.data.cache = "cache"  # folder of shards and phantom files, shared by all jobs
    # biopsy: proven lesions alone; birads: any truth. mini-MIAS and many manifests state no source.
    c.data.truth_policy = "biopsy_followup_or_unstated"
    c.data.strict = False  # True: reject a collection that would need a repair
    c.data.unusable = "reject"  # an image that cannot be read; or leave_out its lesions, listed
    c.data.pseudonymise = True  # hash ids and file names that are not published pseudonyms
    c.data.workers = 1  # processes that read images, each up to 1 GiB; they change no result
    c.data.background = ConfigDict()
    c.data.background.correct = True  # Chan 1995a, Sahiner 1996 (2.1)
    c.data.background.along_mm = 3.2  # box along the edge
    c.data.background.depth_mm = 1.6  # box across the edge
    c.data.cbis_ddsm = ConfigDict()
    c.data.cbis_ddsm.parts = ("mass-train", "mass-test")  # also calc-train, calc-test
    c.data.cbis_ddsm.pixel_um = 50.0  # assumed: its files do not say it
    c.data.cbis_ddsm.conflicts = "leave_out"  # lesions of two truths; or malignant
    c.data.cdd_cesm = ConfigDict()
    c.data.cdd_cesm.findings = ("mass",)  # beginnings of words of its column Findings
    c.data.cdd_cesm.pixel_um = placeholder(float)  # its files do not say it: give it
    c.data.cmmd = ConfigDict()
    c.data.cmmd.boxes = placeholder(str)  # CSV of your boxes: it marks no lesion itself
    c.data.ddsm = ConfigDict()
    c.data.ddsm.lesion_types = ("MASS",)  # also CALCIFICATION, OTHER
    c.data.inbreast = ConfigDict()
    c.data.inbreast.kinds = ("mass",)  # also spiculated_region, distortion, asymmetry ...
    c.data.inbreast.link_views = False  # True: the only lesion of either view is the same
    c.data.manifest = ConfigDict()
    c.data.manifest.outside = False  # True: its paths may leave its folder; for your own alone
    c.data.mini_mias = ConfigDict()
    c.data.mini_mias.classes = ("CIRC", "SPIC", "MISC")  # masses
    c.data.phantom = ConfigDict()
    c.data.phantom.cases = 150  # in each of the three collections
    c.data.phantom.seed = 0
    c.data.phantom.difficulty = 0.4  # overlap of the two classes, 0 none ... 1 all
    c.data.phantom.shared_signal = 1.0  # other collections than the target: 1 the same cues of
    #                                     malignancy as in it ... 0 labels unrelated to any cue
    c.data.phantom.test_fraction = 0.4
    c.data.phantom.malignant_fraction = 0.4
    c.data.tfds = ConfigDict()
    c.data.tfds.fields = ()  # 'ours:theirs' each, such as label:pathology; (): as known
    c.data.tfds.pixel_um = placeholder(float)  # where no field says it
    c.data.tfds.modality = ""  # SFM or DM
    c.data.tfds.truth_source = "unstated"

    # The network
    c.model = ConfigDict()
    c.model.backbone = "alexnet"  # the paper's (Table 3); vgg16, resnet18: with weights of theirs
    c.model.dropout = 0.5  # after F1 and F2 (2.2)
    c.model.initialization = "he"  # of new layers, and the bias rule; or krizhevsky2012 (2.2),
    #                                cuda_convnet2 (docs/method.md has the comparison)
    c.model.heads = "shared"  # shared: one F5 for all collections (2.3); per_task: one each

    # The training (2.2)
    c.train = ConfigDict()
    c.train.epochs = 200
    c.train.match_steps = False  # True: who learns fewer ROIs takes as many steps, in more epochs
    c.train.batch_size = 128
    c.train.learning_rate = 0.001
    c.train.final_learning_rate = 0.00004  # reached exponentially in the last step
    c.train.momentum = 0.9
    c.train.weight_decay = 0.0005
    c.train.precision = "float32"  # or bfloat16: of the computation; parameters are always float32
    c.train.task_weights = ()  # 'name:weight' each; a collection not named counts 1
    c.train.checkpoint_epochs = 10
    c.train.validation_epochs = 5  # interval at which loss and AUC of the held-out fold are
    #     recorded, in the last epoch too; 0: never. They select nothing
    c.train.tensorboard = False  # needs the [tensorboard] extra

    # The source task (configs/pretrain.py): what is learned before any transfer
    c.pretraining = ConfigDict()
    c.pretraining.images = "synthetic"  # or folder:PATH, or tfds:NAME
    c.pretraining.size = 128  # pixels
    c.pretraining.small_size = 64  # of the images of the first epochs
    c.pretraining.small_epochs = 0
    c.pretraining.images_per_epoch = 131072  # of formulas, which never end
    c.pretraining.validation_images = 8192  # formula images that are never learned
    c.pretraining.head = "fully_connected"  # or pooled: the mean of the last map
    c.pretraining.initialization = "random"  # or analytic: Gabor filters in C1
    c.pretraining.weight_standardization = (
        False  # kernels of zero mean and unit variance while learning
    )
    c.pretraining.optimizer = "sgd"
    c.pretraining.schedule = "steps"  # tenfold drops; or cosine
    c.pretraining.warmup = 0.0  # part of the training over which the learning rate rises

    # The statistics
    c.statistics = ConfigDict()
    c.statistics.bootstrap = 2000  # resamples of the patients
    c.statistics.primary = ConfigDict()  # the one comparison whose p-value is the result; all
    #     others are secondary. It is written to folds.json before any training
    c.statistics.primary.unit = "lesion"  # or view
    c.statistics.primary.test = "obuchowski"  # empirical AUCs; proper: of the fits; or bootstrap
    c.statistics.primary.pair = ()  # two approaches, first - second; (): the first two of
    #     config.approaches that are tested on the target

    # What is looked at in the trained networks; t-SNE as in the paper
    c.analysis = ConfigDict()
    c.analysis.enabled = True
    c.analysis.max_rois = 400  # learned ones of each collection, as many of the test set, at most
    c.analysis.perplexity = 30.0  # of t-SNE
    c.analysis.iterations = 5000
    c.analysis.n_init = 10  # the one of lowest cost is kept
    c.analysis.maps = 6  # deconvolution maps of each layer
    c.analysis.explained = 1  # ROIs at each end: highest and lowest score of either truth
    c.analysis.roi_ids = ()  # roi_id of the target's ROIs to be explained as well
    c.analysis.steps = 64  # of integrated gradients
    c.analysis.show_rois = True  # False: no ROI is shown in the report, as some licences ask
    c.analysis.threshold = 0.5  # score from which an ROI is called malignant, in the gallery
    c.analysis.gallery = 12  # misclassified ROIs shown of each kind, the worst first
    c.analysis.conventional = True  # hand-made features, LDA and random forest, beside the networks

    c.keep_weights = "last"  # of finished runs: of the last stage, unless it is a table of many;
    #                          all: of every run, 0.1 to 0.25 GB each

    # Where it runs
    c.devices = (
        1  # that share each batch, or the replicas; of this machine or all processes together
    )
    c.replicas = placeholder(int)  # runs that differ in seed or fold alone and train together, at
    #                             most; None: as many as fit on the devices, on CPUs one each
    c.feature_cache = "auto"  # what frozen layers give is computed once and kept; off: at each step
    c.stream = "auto"  # ROIs that would fill a quarter of the device's memory stay on disk and
    #                    are read batch by batch; always: all of them; it changes no result
    c.accept_versions = False  # True: go on with runs and checkpoints of other versions or another
    #                            platform, and mark the results as mixed; set by --accept_versions
    c.executor = "local"  # local: one run after another, here; ray: each a task of a Ray cluster
    c.ray = ConfigDict()  # needs the [ray] extra
    c.ray.address = placeholder(str)  # of a cluster that runs, or auto; None: on this machine alone
    c.ray.cpus = 1.0  # that each run asks for
    c.ray.gpus = 0.0
    return c


def at_preset(c: ConfigDict, preset: str) -> ConfigDict:
    """Return `c` as it is ('paper'), or cut down to minutes on two processor cores ('demo')."""
    if preset not in PRESETS:
        raise InputError(f"--config=FILE:{preset}: the preset must be paper or demo")
    c.preset = preset
    if preset == "paper" and c.study in IMAGENET_STUDIES:
        c.weights = IMAGENET
    if preset == "demo":
        c.cross_validation.initializations = 1
        c.train.epochs = 10
        c.train.batch_size = 32
        c.train.validation_epochs = 1
        c.train.learning_rate = 0.008  # most layers start at random and see few batches
        c.train.final_learning_rate = 0.0008
        c.data.phantom.difficulty = 0.3
        c.data.phantom.test_fraction = 0.6  # scoring is cheap, and narrows the interval
        c.analysis.max_rois = 60
        c.analysis.iterations = 750
        c.analysis.n_init = 2
        c.analysis.steps = 32
    return c


def expand_paths(c: ConfigDict) -> None:
    """Replaces `~` in every setting that names a path, so that config.json holds whole paths."""
    for fields, expand in ((PATHS, paths.expand), (SOURCES_OF_FILES, paths.source)):
        for field in fields:
            *above, name = field.split(".")
            part = c
            for one in above:
                part = part[one]
            value = part[name]
            if isinstance(value, str):
                part[name] = expand(value)
            elif isinstance(value, tuple):
                part[name] = tuple(expand(v) if isinstance(v, str) else v for v in value)


def validate(c: ConfigDict) -> None:
    """Raises InputError for the first setting, or pair of settings, that cannot be run."""
    _one_of("preset", c.preset, PRESETS)
    _one_of("study", c.study, (*STAGES, PRETRAINING, TRANSFER))
    _one_of("network", c.network, NETWORKS)
    _one_of("model.heads", c.model.heads, HEADS)
    _one_of("model.initialization", c.model.initialization, INITIALIZATIONS)
    _validate_backbone(c)
    _one_of("executor", c.executor, EXECUTORS)
    _one_of("keep_weights", c.keep_weights, KEEP)
    _one_of("feature_cache", c.feature_cache, CACHES)
    _one_of("stream", c.stream, STREAMS)
    for approach in c.approaches:
        parse_approach(approach)
    _need("approaches", c.approaches, bool(c.approaches), "at least one of mttl, sttl")
    _need("approaches", c.approaches, len(set(c.approaches)) == len(c.approaches), "no repeats")
    _need(
        "approaches",
        c.approaches,
        c.study not in ("splits", "depth") or tuple(c.approaches) == (SINGLE_TASK,),
        f"({SINGLE_TASK!r},) in a study of {c.study}, which is single-task on the target alone",
    )
    _validate_data(c)
    _need("split", c.split, 1 <= c.split <= 1000, "between 1 and 1000")
    _need("folds", c.folds, c.folds >= 2, "at least 2")
    for field in ("seed", "split_seed"):
        _need(field, c[field], 0 <= c[field] < 2**31, "between 0 and 2147483647")
    _need(
        "weights",
        c.weights,
        c.preset != "paper" or c.study not in IMAGENET_STUDIES or c.weights not in OWN_WEIGHTS,
        f"'{IMAGENET}' or a folder of ImageNet convolutions: at the paper preset a study of "
        f"{c.study} starts from them, as the paper's; --config=FILE:demo runs without",
    )
    _need("devices", c.devices, c.devices >= 1, "at least 1")
    _need("replicas", c.replicas, c.replicas is None or c.replicas >= 1, "at least 1, or None")
    _validate_statistics(c)
    _need("model.dropout", c.model.dropout, 0 <= c.model.dropout < 1, "in [0, 1)")
    _validate_analysis(c.analysis)
    _validate_train(c)
    _validate_approaches(c)
    _validate_stages(c)
    _validate_transfer(c)
    _validate_source(c)


def _validate_data(c: ConfigDict) -> None:
    _need("data.sources", c.data.sources, bool(c.data.sources), "at least one name:path")
    for source in c.data.sources:
        named = isinstance(source, str) and ":" in source
        _need("data.sources", source, named, "texts of the form name:path")
    names = {re.split("[:/]", source)[0] for source in c.data.sources}
    names |= {re.split("[:/]", s)[1] for s in c.data.sources if s.startswith("tfds:")}
    _need(
        "data.sources",
        c.data.sources,
        not {"cbis_ddsm", "curated_breast_imaging_ddsm"} <= names,
        "one of cbis_ddsm and tfds:curated_breast_imaging_ddsm: they are the same images",
    )
    if c.data.crosswalk is None:  # shards and manifests of these two are found out when opened
        _need(
            "data.sources",
            c.data.sources,
            "ddsm" not in names or not {"cbis_ddsm", "curated_breast_imaging_ddsm"} & names,
            "one of CBIS-DDSM and DDSM at most: they are of the same patients under ids that do not"
            " correspond; or give config.data.crosswalk",
        )
    _one_of("data.truth_policy", c.data.truth_policy, TRUTH_POLICIES)
    _one_of("data.unusable", c.data.unusable, UNUSABLE)
    _need("data.workers", c.data.workers, 1 <= c.data.workers <= 256, "between 1 and 256")
    fraction = c.data.test_fraction
    _need("data.test_fraction", fraction, 0 <= fraction < 1, "in [0, 1)")
    phantom = c.data.phantom
    _need("data.phantom.cases", phantom.cases, 1 <= phantom.cases < 10**5, "between 1 and 99999")
    _need("data.phantom.seed", phantom.seed, 0 <= phantom.seed < 2**31, "between 0 and 2147483647")
    for field in ("difficulty", "shared_signal", "test_fraction", "malignant_fraction"):
        _need(f"data.phantom.{field}", phantom[field], 0 <= phantom[field] <= 1, "in [0, 1]")


def _validate_train(c: ConfigDict) -> None:
    t = c.train
    _need("train.epochs", t.epochs, t.epochs >= 1, "at least 1")
    _need("train.batch_size", t.batch_size, t.batch_size >= 1, "at least 1")
    _need(
        "train.batch_size",
        t.batch_size,
        t.batch_size % c.devices == 0,
        f"a multiple of devices ({c.devices})",
    )
    _need("train.learning_rate", t.learning_rate, t.learning_rate > 0, "above 0")
    _need(
        "train.final_learning_rate",
        t.final_learning_rate,
        0 < t.final_learning_rate <= t.learning_rate,
        "above 0 and at most train.learning_rate",
    )
    _need("train.momentum", t.momentum, 0 <= t.momentum < 1, "in [0, 1)")
    _need("train.weight_decay", t.weight_decay, t.weight_decay >= 0, "at least 0")
    _need("train.checkpoint_epochs", t.checkpoint_epochs, t.checkpoint_epochs >= 1, "at least 1")
    _need("train.validation_epochs", t.validation_epochs, t.validation_epochs >= 0, "at least 0")
    _one_of("train.precision", t.precision, PRECISIONS)


def _validate_backbone(c: ConfigDict) -> None:
    """In the job that compares weights the backbone follows them, and this one is of 'random'."""
    backbone = c.model.backbone
    _one_of("model.backbone", backbone, BACKBONES)
    if backbone == BACKBONES[0] or c.study == TRANSFER:
        return
    _need(
        "model.backbone",
        backbone,
        c.study != PRETRAINING,
        "alexnet, which the source task is made for",
    )
    _need(
        "weights",
        c.weights,
        c.weights not in OF_ALEXNET,
        f"weights of config.model.backbone, {backbone}: random, or a folder that "
        "tools/convert_weights.py made of them",
    )


def _validate_approaches(c: ConfigDict) -> None:
    """What can be known of each before the collections are: is it scored, and does it learn."""
    general = parse_task_weights(c.train.task_weights)
    field = "transfer.study" if c.study == TRANSFER else "study"
    study = c.transfer.study if c.study == TRANSFER else c.study
    target_alone = "cross_validation" in STAGES.get(study, ())
    for name in c.approaches:
        kind, options = parse_approach(name)
        about = options.get("of", c.data.target)
        _need(
            "approaches",
            name,
            about == c.data.target or not target_alone,
            f"left out in a study of {study}, whose cross-validation scores the target"
            f" ({c.data.target}) alone; or set config.{field} to 'test'",
        )
        idle = {task for task, weight in {**general, **own_weights(options)}.items() if not weight}
        if kind == SINGLE_TASK:
            learns = about not in idle
        else:
            learns = len(idle | {options.get("without")} - {None, "each"}) < len(c.data.sources)
        _need("approaches", name, learns, NO_WEIGHT)


def own_weights(options: Mapping[str, str]) -> dict[str, float]:
    """{'dm': 2.0} of the options {'weight.dm': '2'} of an approach."""
    named = {key.partition("."): value for key, value in options.items()}
    return {task: float(value) for (word, _, task), value in named.items() if word == "weight"}


def _validate_statistics(c: ConfigDict) -> None:
    samples, primary = c.statistics.bootstrap, c.statistics.primary
    _need("statistics.bootstrap", samples, samples >= 100, "at least 100")
    _one_of("statistics.primary.unit", primary.unit, UNITS)
    _one_of("statistics.primary.test", primary.test, PRIMARY_TESTS)
    pair = tuple(primary.pair)
    distinct = not pair or len(set(pair)) == len(pair) == 2
    _need("statistics.primary.pair", pair, distinct, "two different approaches, or ()")
    for name in pair:
        parse_approach(name, "statistics.primary.pair")
    for stage in {"cross_validation", "test"} & set(STAGES.get(c.study, ())):
        starts = c[stage].initializations
        rule = (
            "1, or 3 and more: with two, the variance between initializations cannot be estimated"
        )
        _need(f"{stage}.initializations", starts, starts != 2 or len(c.approaches) == 1, rule)


def _validate_stages(c: ConfigDict) -> None:
    _one_of("selection.unit", c.selection.unit, UNITS)
    for stage, counts in (
        ("splits", ("count", "initializations")),
        ("depth", ("initializations",)),
        ("cross_validation", ("initializations",)),
        ("test", ("initializations",)),
        ("learning_curve", ("subsets",)),
    ):
        for name in counts:
            _need(f"{stage}.{name}", c[stage][name], c[stage][name] >= 1, "at least 1")
    for stage in ("splits", "depth"):
        networks = c[stage].networks
        for network in networks:
            _one_of(f"{stage}.networks", network, NETWORKS)
        distinct = 0 < len(networks) == len(set(networks))
        _need(f"{stage}.networks", networks, distinct, "one network or more, no repeats")
    sizes = c.learning_curve.target_cases
    rising = bool(sizes) and list(sizes) == sorted(set(sizes)) and sizes[0] >= 2
    _need("learning_curve.target_cases", sizes, rising, "rising numbers from 2 up")
    _need("ray.cpus", c.ray.cpus, c.ray.cpus >= 0, "at least 0")
    _need("ray.gpus", c.ray.gpus, c.ray.gpus >= 0, "at least 0")


def parse_approach(name: str, field: str = "approaches") -> tuple[str, dict[str, str]]:
    """('mttl', {'heads': 'per_task'}) from 'mttl+heads=per_task', which stands in `field`.

    Options: heads; weight.NAME, of a collection in the loss; without, the collection that is not
    learned; of, the collection that single-task learning is about.
    """
    kind, *options = name.split("+")
    _one_of(field, kind, tuple(APPROACHES))
    _need(field, name, bool(re.fullmatch(r"[\w.=+-]+", name)), "a name fit for a folder")
    parsed: dict[str, str] = {}
    for option in options:
        key, _, value = option.partition("=")
        word = key.partition(".")[0]
        known = APPROACHES[kind]
        rule = f"{kind} with options {', '.join(known)}, each once"
        _need(field, name, bool(value) and word in known and key not in parsed, rule)
        if word == "heads":
            _one_of(field, value, HEADS)
        if word == "weight":
            parse_task_weights([f"{key.removeprefix('weight.')}:{value}"], field)
        parsed[key] = value
    return kind, parsed


def _validate_transfer(c: ConfigDict) -> None:
    t = c.transfer
    _one_of("transfer.study", t.study, ("test", "cross_validation"))
    _need("transfer.initializations", t.initializations, t.initializations >= 1, "at least 1")
    names = {weights.rstrip("/").rpartition("/")[2] for weights in t.weights}
    distinct = 0 < len(names) == len(t.weights)
    _need("transfer.weights", t.weights, distinct, "one or more, whose last parts differ")


def _validate_source(c: ConfigDict) -> None:
    s, t = c.pretraining, c.train
    _one_of("pretraining.head", s.head, PRETRAINING_HEADS)
    _one_of("pretraining.initialization", s.initialization, PRETRAINING_INITIALIZATIONS)
    _one_of("pretraining.optimizer", s.optimizer, OPTIMIZERS)
    _one_of("pretraining.schedule", s.schedule, PRETRAINING_SCHEDULES)
    _need("pretraining.warmup", s.warmup, 0 <= s.warmup < 1, "in [0, 1)")
    for field in ("size", "small_size"):
        _need(f"source.{field}", s[field], 64 <= s[field] <= 512, "between 64 and 512")
    for field in ("images_per_epoch", "validation_images"):
        _need(f"source.{field}", s[field], s[field] >= 1, "at least 1")
    small = s.small_epochs
    _need("pretraining.small_epochs", small, 0 <= small <= t.epochs, "at most train.epochs")
    _need(
        "pretraining.small_epochs",
        small,
        not small or s.head == "pooled",
        "0 but for a pooled head",
    )
    if c.study == PRETRAINING and s.images == "synthetic":
        _need("train.batch_size", t.batch_size, t.batch_size % 8 == 0, "a multiple of 8")


def _validate_analysis(a: ConfigDict) -> None:
    for name in ("n_init", "maps", "explained", "steps", "gallery"):
        _need(f"analysis.{name}", a[name], a[name] >= 1, "at least 1")
    _need("analysis.max_rois", a.max_rois, a.max_rois >= 8, "at least 8")
    _need("analysis.iterations", a.iterations, a.iterations >= 50, "at least 50")
    _need("analysis.perplexity", a.perplexity, a.perplexity >= 2, "at least 2")
    _need("analysis.threshold", a.threshold, 0 < a.threshold < 1, "between 0 and 1")


def parse_task_weights(items: Iterable[str], field: str = "train.task_weights") -> dict[str, float]:
    """{'sfm': 2.0} from ('sfm:2',); `field` is where they stand."""
    weights = {}
    for item in items:
        name, _, value = item.partition(":")
        try:
            weights[name] = float(value)
        except ValueError:
            weights[name] = -1.0
        rule = "the form name:number, such as sfm:2, with a finite number from 0 up"
        _need(field, item, 0 <= weights[name] < math.inf, rule)
    return weights


def _need(field: str, value: object, holds: bool, rule: str) -> None:
    if not holds:
        raise InputError(f"config.{field} is {value!r}; it must be {rule}")


def _one_of(field: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        near = get_close_matches(str(value), valid, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise InputError(f"config.{field} is {value!r}; it must be one of {', '.join(valid)}{hint}")
