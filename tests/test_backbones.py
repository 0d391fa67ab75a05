"""VGG16 and ResNet-18 compared with NumPy and PyTorch, and the code that supports any backbone."""

from pathlib import Path

import backbone_states as states
import handmade_pth as made
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import weight_files as files
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save as safetensors_bytes

from mtl_jax import bundle, config, weights
from mtl_jax.analysis import deconvolution
from mtl_jax.bundle import onnx_graph, scoring
from mtl_jax.experiments.train_runs import warm_start
from mtl_jax.models import base, registry
from mtl_jax.training import feature_cache, optimizer, predict
from mtl_jax.training.dataset import make_dataset
from mtl_jax.types import InputError

CONVOLUTIONAL = ("C1", "C2", "C3", "C4", "C5")
MAPS = {
    "vgg16": [(64, 64), (32, 128), (16, 256), (8, 512), (4, 512)],
    "resnet18": [(32, 64), (32, 64), (16, 128), (8, 256), (4, 512)],
}
F1_INPUTS = {"vgg16": 4 * 4 * 512, "resnet18": 512}
NAMES = sorted(MAPS)


@pytest.fixture(scope="module")
def state() -> dict[str, states.State]:
    return {"vgg16": states.vgg16(), "resnet18": states.resnet18()}


@pytest.fixture(scope="module")
def converted(
    state: dict[str, states.State], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, weights.Weights]:
    """Weights converted from a PyTorch and a safetensors file."""
    folder = tmp_path_factory.mktemp("backbones")
    (folder / "vgg16").write_bytes(made.valid_files(state["vgg16"])["zip"])
    (folder / "resnet18").write_bytes(safetensors_bytes(state["resnet18"]))
    return {name: weights.convert(folder / name) for name in state}


@pytest.fixture(scope="module")
def random_resnet() -> dict:
    """Random parameters of ResNet-18; those of the fully connected layers come from NumPy."""
    built, rng = registry.build("resnet18"), np.random.default_rng(0)
    image = jnp.zeros((1, 32, 32, 3))
    backbone = jax.jit(lambda key: built.init(key, image, last="C5"))(jax.random.key(0))["params"]
    head = {
        path: np.float32(np.sqrt(2 / shape[0])) * rng.standard_normal(shape, np.float32)
        for path, shape in base.param_shapes(built).items()
        if path[0] == "F"
    }
    return jax.device_get(backbone) | unflatten_dict(head, sep="/")


def assert_close(ours: jax.Array, theirs: np.ndarray, tolerance: float = 1e-4) -> None:
    assert ours.shape == theirs.shape
    assert np.linalg.norm(np.asarray(ours) - theirs) < tolerance * np.linalg.norm(theirs)


def apply(name: str, params: dict, x: np.ndarray, first: str, last: str) -> np.ndarray:
    built = registry.build(name)
    return np.asarray(built.apply({"params": params}, x[None], first, last)[0])


def rejected(path: Path, arrays: states.State) -> str:
    path.write_bytes(safetensors_bytes(arrays))
    with pytest.raises(InputError) as caught:
        weights.convert(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Networks


@pytest.mark.parametrize("name", config.BACKBONES)
def test_every_backbone_of_the_registry_is_complete(name: str) -> None:
    """Each key map names every parameter of the stages, or the normalization that gives it."""
    backbone, network = registry.get(name), registry.build(name)
    assert type(network) is backbone.network
    registry.check(name)
    for key_map in backbone.key_maps:
        assert len(set(key_map.keys.values())) == len(key_map.keys)
    assert bool(network.convolution_chain()) != bool(backbone.no_maps)
    assert all(backbone.describe()[text] for text in ("name", "network", "layers", "source"))


@pytest.mark.parametrize("name", NAMES)
def test_layer_names_and_map_sizes(name: str) -> None:
    built = registry.build(name)
    shapes = base.param_shapes(built)
    leaves = {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in shapes.items()}
    params = unflatten_dict(leaves, sep="/")
    assert set(params) == set(built.layers)
    x = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)
    map_sizes = []
    for layer in CONVOLUTIONAL:
        x = jax.eval_shape(lambda p, x, la=layer: built.apply({"params": p}, x, la, la), params, x)
        map_sizes.append((x.shape[1], x.shape[3]))
    assert map_sizes == MAPS[name]
    head = [params[f"F{i}"]["kernel"].shape for i in range(1, 6)]
    assert head == [(F1_INPUTS[name], 4096), (4096, 4096), (4096, 1000), (1000, 100), (100, 2)]


def test_layer_and_parameter_counts_are_those_published() -> None:
    """VGG16 has 13 convolutions; ResNet-18 has 17 and 3 in shortcuts, with normalization folded."""
    for name, layers, numbers in (("vgg16", 13, 14_714_688), ("resnet18", 17 + 3, 11_171_712)):
        shapes = {p: s for p, s in base.param_shapes(registry.build(name)).items() if p[0] == "C"}
        assert sum(path.endswith("kernel") for path in shapes) == layers
        assert sum(int(np.prod(shape)) for shape in shapes.values()) == numbers


def test_vgg_block_matches_numpy(state: dict, converted: dict) -> None:
    x = np.random.default_rng(0).standard_normal((12, 10, 3)).astype(np.float32)
    expected = x
    for number in (0, 2):
        layer = {leaf: state["vgg16"][f"features.{number}.{leaf}"] for leaf in ("weight", "bias")}
        expected = np.maximum(states.convolve(expected, layer["weight"]) + layer["bias"], 0)
    expected = states.max_pool(expected, 2)
    assert_close(apply("vgg16", converted["vgg16"].params, x, "C1", "C1"), expected, 1e-5)


def test_resnet_stem_and_stages_match_numpy_with_batch_normalization(
    state: dict, converted: dict
) -> None:
    """NumPy applies the batch normalization that is folded in the converted weights."""
    rng, resnet_state = np.random.default_rng(0), state["resnet18"]
    x = rng.standard_normal((20, 16, 3)).astype(np.float32)
    y = states.batch_normalize(
        states.convolve(x, resnet_state["conv1.weight"], 2, 3), resnet_state, "bn1"
    )
    padding = ((1, 1), (1, 1), (0, 0))
    expected = states.max_pool(np.pad(np.maximum(y, 0), padding), 3)
    params = converted["resnet18"].params
    assert_close(apply("resnet18", params, x, "C1", "C1"), expected, 1e-5)
    x = np.abs(rng.standard_normal((8, 6, 64))).astype(np.float32)
    for layer, wide, stride in (("C2", 64, 1), ("C3", 64, 2)):
        name = f"layer{int(layer[1]) - 1}"
        expected = states.residual_block(x[..., :wide], resnet_state, f"{name}.0", stride)
        expected = states.residual_block(expected, resnet_state, f"{name}.1", 1)
        assert_close(apply("resnet18", params, x, layer, layer), expected, 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_matches_pytorch(name: str, state: dict, converted: dict) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra: bench)")
    nn = torch.nn

    class Residual(nn.Module):
        def __init__(self, wide: int, maps: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(wide, maps, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(maps, maps, 3, 1, 1, bias=False)
            self.bn1, self.bn2 = nn.BatchNorm2d(maps), nn.BatchNorm2d(maps)
            self.downsample = nn.Identity()
            if wide != maps:
                conv = nn.Conv2d(wide, maps, 1, stride, bias=False)
                self.downsample = nn.Sequential(conv, nn.BatchNorm2d(maps))

        def forward(self, x: object) -> object:
            y = torch.relu(self.bn1(self.conv1(x)))
            return torch.relu(self.bn2(self.conv2(y)) + self.downsample(x))

    if name == "vgg16":
        modules, channels = [], 3
        for item in states.VGG:
            convolution = [] if item == "M" else [nn.Conv2d(channels, item, 3, 1, 1), nn.ReLU()]
            modules += convolution or [nn.MaxPool2d(2)]
            channels = channels if item == "M" else item
        net = nn.ModuleDict({"features": nn.Sequential(*modules)})
        ends = [i + 1 for i, module in enumerate(modules) if isinstance(module, nn.MaxPool2d)]
        stages = [net["features"][a:b] for a, b in zip([0, *ends], ends, strict=False)]
    else:
        conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        net = nn.ModuleDict({"conv1": conv1, "bn1": nn.BatchNorm2d(64)})
        for number, (channels, maps) in enumerate(((64, 64), (64, 128), (128, 256), (256, 512)), 1):
            first = Residual(channels, maps, 1 if number == 1 else 2)
            net[f"layer{number}"] = nn.Sequential(first, Residual(maps, maps, 1))
        net["fc"] = nn.Linear(512, 1000)
        stem = nn.Sequential(net["conv1"], net["bn1"], nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        stages = [stem, *(net[f"layer{number}"] for number in (1, 2, 3, 4))]
    net.load_state_dict({key: torch.tensor(value) for key, value in state[name].items()})
    net.eval()
    image = np.random.default_rng(0).standard_normal((1, 128, 128, 3)).astype(np.float32)
    ours, theirs = image, torch.tensor(image.transpose(0, 3, 1, 2).copy())
    for layer, stage in zip(CONVOLUTIONAL, stages, strict=True):
        with torch.no_grad():
            theirs = stage(theirs)
        ours = apply(name, converted[name].params, ours[0], layer, layer)[None]
        assert_close(ours, theirs.numpy().transpose(0, 2, 3, 1))


@pytest.mark.parametrize("name", NAMES)
def test_one_gray_channel_equals_three_equal_channels(name: str, converted: dict) -> None:
    gray = np.random.default_rng(3).standard_normal((32, 32, 1)).astype(np.float32)
    ours = apply(name, converted[name].params, gray, "C1", "C1")
    assert_close(ours, apply(name, converted[name].params, gray.repeat(3, -1), "C1", "C1"), 1e-5)


@pytest.mark.slow
def test_random_resnet_keeps_the_second_moment(random_resnet: dict) -> None:
    """With kernels of full scale each of the eight sums would double the second moment."""
    x = np.random.default_rng(0).standard_normal((128, 128, 3)).astype(np.float32)
    moments = []
    for layer in CONVOLUTIONAL:
        x = apply("resnet18", random_resnet, x, layer, layer)
        moments.append(float((x**2).mean()))
    assert all(0.5 < moment / moments[0] < np.e for moment in moments)


# Weights


@pytest.mark.parametrize("name", NAMES)
def test_converted_weights_name_their_backbone_and_reload_bit_identical(
    name: str, converted: dict, tmp_path: Path
) -> None:
    expected = converted[name]
    assert expected.metadata["backbone"] == name and list(expected.params) == list(CONVOLUTIONAL)
    weights.save(expected, tmp_path / name)
    loaded = weights.load(tmp_path / name)
    assert loaded.metadata == expected.metadata
    ours, theirs = flatten_dict(expected.params, sep="/"), flatten_dict(loaded.params, sep="/")
    assert set(ours) == set(theirs)
    assert all(ours[path].tobytes() == theirs[path].tobytes() for path in ours)
    assert weights.find_for_backbone(str(tmp_path / name), name).metadata == expected.metadata
    files.rename_as_in_0_1_0(tmp_path / name)
    assert weights.load(tmp_path / name).metadata == expected.metadata
    with pytest.raises(
        InputError, match=f"config.weights.*{name}.*config.model.backbone"
    ) as caught:
        weights.find_for_backbone(str(tmp_path / name), "alexnet")
    assert "\n" not in str(caught.value) and f"--config.model.backbone={name}" in str(caught.value)


def test_left_out_layers_are_listed(converted: dict) -> None:
    assert converted["vgg16"].metadata["left_out"] == []
    dropped, counters, folded = converted["resnet18"].metadata["left_out"]
    assert "num_batches_tracked" in counters
    assert dropped.startswith("fc dropped") and "folded" in folded


def test_vgg_batch_normalization_is_folded(tmp_path: Path) -> None:
    vgg_state = states.vgg16(normalized=True)
    (tmp_path / "vgg16_bn").write_bytes(safetensors_bytes(vgg_state))
    params = weights.convert(tmp_path / "vgg16_bn").params
    x = np.random.default_rng(0).standard_normal((8, 8, 3)).astype(np.float32)
    expected = x
    for number in (0, 3):
        y = states.convolve(expected, vgg_state[f"features.{number}.weight"])
        y = states.batch_normalize(
            y + vgg_state[f"features.{number}.bias"], vgg_state, f"features.{number + 1}"
        )
        expected = np.maximum(y, 0)
    assert_close(apply("vgg16", params, x, "C1", "C1"), states.max_pool(expected, 2), 1e-5)


def test_all_problems_of_a_checkpoint_are_in_one_line(state: dict, tmp_path: Path) -> None:
    invalid = dict(state["resnet18"])
    del invalid["layer2.0.downsample.1.running_mean"]
    invalid["layer1.0.bn1.running_var"] = -invalid["layer1.0.bn1.running_var"]
    invalid["layer3.1.conv1.weight"] = invalid["layer3.1.conv1.weight"][:7]
    invalid["layer1.2.conv1.weight"] = np.zeros((64, 64, 3, 3), np.float32)  # of ResNet-34
    message = rejected(tmp_path / "invalid", invalid)
    for part in (
        "checkpoint of resnet18",
        "missing layer2.0.downsample.1.running_mean",
        "layer1.0.bn1.running_var has a negative variance",
        "layer3.1.conv1.weight has shape (7, 256, 3, 3), expected (256, 256, 3, 3)",
        "unexpected layer1.2.conv1.weight",
    ):
        assert part in message
    infinite = state["resnet18"] | {"bn1.weight": np.full(64, 3e38, np.float32)}
    infinite["bn1.running_var"] = np.zeros(64, np.float32)
    assert "bn1 gives values that are not finite" in rejected(tmp_path / "infinite", infinite)


def test_weights_of_another_backbone_are_rejected_by_the_config() -> None:
    for backbone, study, weights_name, field in (
        ("vgg16", "test", "shipped", "config.weights"),
        ("resnet18", "test", "analytic", "config.weights"),
        ("vgg16", "pretraining", "random", "config.model.backbone"),
        ("vgg19", "test", "random", "config.model.backbone"),
    ):
        c = config.default()
        c.model.backbone, c.study, c.weights = backbone, study, weights_name
        with pytest.raises(InputError, match=field):
            config.validate(c)
    for weights_name in ("random", "checkpoints/mine"):
        c = config.default()
        c.model.backbone, c.weights = "vgg16", weights_name
        config.validate(c)
    assert weights.find("random", "vgg16").metadata["backbone"] == "vgg16"
    assert weights.find("shipped", "vgg16").metadata["backbone"] == "alexnet"


# Code that supports any backbone


def test_warm_start_replaces_nested_layers(random_resnet: dict, converted: dict) -> None:
    pretrained = converted["resnet18"]
    params = flatten_dict(warm_start(random_resnet, pretrained), sep="/")
    expected = flatten_dict(pretrained.params, sep="/")
    assert set(params) == set(flatten_dict(random_resnet, sep="/"))
    assert all(np.array_equal(params[path], expected[path]) for path in expected)
    with pytest.raises(InputError, match="config.weights"):
        warm_start({"C1": random_resnet["C1"]}, pretrained)


def test_frozen_stages_have_no_optimizer_state(random_resnet: dict) -> None:
    tx = optimizer.freeze(optimizer.sgd(0.9, 0.0), optimizer.frozen_layers("C1-C4"))
    momentum = jax.tree.leaves(jax.eval_shape(tx.init, random_resnet))
    c5 = 2 * (4 + 1)  # kernel and bias of four convolutions and a shortcut
    assert len([leaf for leaf in momentum if leaf.ndim]) == c5 + 2 * 5


def test_feature_cache_stores_maps_of_the_backbone(converted: dict, random_resnet: dict) -> None:
    counts = np.random.default_rng(0).integers(-999, 999, (1, 128, 128)).astype(np.int16)
    pool = make_dataset([counts], [np.zeros(1, int)], np.zeros(1, "f4"), np.full(1, 500, "f4"))
    params = {**random_resnet, **converted["resnet18"].params}
    built = registry.build("resnet18")
    source, first = feature_cache.cached_source(built, params, pool, ("C1", "C2"))
    feature_cache.clear_cache()
    assert first == "C3"
    expected = apply("resnet18", params, counts[0, ..., None] / np.float32(500), "C1", "C2")
    assert_close(np.asarray(source.values)[0], expected, 1e-5)


def test_deconvolution_through_vgg_blocks_is_the_gradient() -> None:
    """With positive weights the rectifiers change nothing, so the projection is the gradient of
    half the squared map."""
    built = registry.build("vgg16")
    links = built.convolution_chain()[:4]
    assert [link.path for link in links] == ["C1/conv1", "C1/conv2", "C2/conv1", "C2/conv2"]
    shapes = {path: s for path, s in base.param_shapes(built).items() if path[:2] in ("C1", "C2")}
    rng = np.random.default_rng(0)
    params = unflatten_dict(
        {path: np.float32(rng.uniform(0, 0.01, shape)) for path, shape in shapes.items()}, sep="/"
    )
    image = jnp.asarray(rng.uniform(0, 1, (16, 16, 3)), jnp.float32)
    passed = jax.jit(deconvolution.forward, static_argnums=2)(params, image, links)
    pooled = deconvolution.max_pool(passed.maps["C2/conv2"], 2)[0]
    assert_close(pooled, apply("vgg16", params, np.asarray(image), "C1", "C2"), 1e-5)

    def energy(image: jax.Array) -> jax.Array:
        maps = deconvolution.forward(params, image, links).maps["C2/conv2"]
        return (maps[..., 9] ** 2).sum() / 2

    project = jax.jit(deconvolution.project, static_argnums=(2, 4))
    back = project(params, passed, links, 9, (16, 16))
    assert_close(back, np.asarray(jax.jit(jax.grad(energy))(image)), 1e-5)
    assert registry.build("resnet18").convolution_chain() == ()


def test_resnet_bundle_scores_and_returns_attribution_maps(
    random_resnet: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "BATCH_ROIS", 2)
    run = {"id": "r", "tasks": ["dm"], "input_mean": {"dm": 0.0}, "input_std": {"dm": 500.0}}
    about = {"run": run, "network": {"backbone": "resnet18", "outputs": 2, "lrn": False}}
    about |= {"made_with": "mtl_jax", "use": ""}
    text, none = np.zeros(0, str), np.zeros(0, np.float32)
    reference = bundle.Reference(
        text, text, text, np.zeros(0, "i4"), none, np.zeros((0, 100), "f4")
    )
    bundle.save(bundle.Model(about, random_resnet, reference), "", tmp_path / "b")
    model = bundle.load(tmp_path / "b")
    counts = np.random.default_rng(0).integers(-999, 999, (2, 128, 128)).astype(np.int16)
    scores, features = model.score_rois(counts)
    assert scores.shape == (2,) and features.shape == (2, 100)
    turned = [np.rot90(counts[1] if k < 4 else counts[1].T, k % 4) for k in range(8)]
    image = np.stack(turned)[..., None] / np.float32(500)
    logits = jax.jit(registry.build("resnet18").apply)({"params": model.params}, image)
    expected = jax.nn.softmax(logits)[:, 1].mean()
    assert scores[1] == pytest.approx(float(expected), abs=1e-5)
    assert np.isfinite(scoring.attribution_map(model, counts[0], "dm")).all()
    with pytest.raises(InputError, match="--format stablehlo"):
        onnx_graph.to_onnx(model)
