"""Measure training on one GPU in a given time, compared with PyTorch and a floor.

Measurements are made in the order of their importance. Each subject has a share of the time; what
is left goes to the rows that did not fit, and those that still do not are listed at the end.

Both programs have the ROIs, or the activations of the frozen layers, on the device, make every
batch in the step (gathering, orientation, standardization), compute in the same precision, and wait
once for a block of steps. Images have one channel in both. Rates include the seconds of computing
cached activations, once in a training of 200 epochs; they exclude compilation, except in the whole
run. The projected hours of the study are calculated from these rates: all of them exclude
compilation and the host's work between runs. JAX allocates memory as it needs it
(XLA_PYTHON_CLIENT_PREALLOCATE=false), because PyTorch and the process of the whole run use the same
device.

It needs JAX, Flax, Optax, Orbax and PyTorch with their dependencies, absl-py, filelock,
ml_collections, safetensors and tqdm; mtl_jax must be installed (`pip install --no-deps`), since
runs record its version. It downloads nothing. `torch.compile` needs a C compiler.
"""

import argparse
import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import bench_forms
import bench_profile
import bench_step
import bench_study
import bench_train
import jax
from bench_forms import ALONE, SUM

from mtl_jax import config, environment
from mtl_jax.models import alexnet
from mtl_jax.models.base import init
from mtl_jax.training import dataset, feature_cache, optimizer, orientations, predict
from mtl_jax.training.epoch import SCANNED_STEPS
from mtl_jax.training.replicas import MAX_WIDTH

BATCH, EPOCHS = bench_step.BATCH, bench_study.EPOCHS
# Goals: a fraction of the floor's rate, times PyTorch's best rate, hours of the paper's study.
FLOOR_GOAL, TORCH_GOAL, HOURS_GOAL = 0.6, 1.5, 1.0
SHARES = {
    "step": 0.34,
    "training": 0.15,
    "replicas": 0.25,
    "scoring": 0.04,
    "uncached": 0.06,
    "profile": 0.04,
    "compile": 0.06,
    "forms": 0.04,
}
# Seconds of the first measurement of a subject.
EXPECTED = {"step": 20, "training": 60, "replicas": 20, "compile": 45}
# By their importance: C1 and C1-C3 have most runs of the study, C1-C5 and C0 are the extremes.
NETWORKS = ("C1", "C1-C5", "C0", "C1-C3", "C1-C2", "C1-C4")
OTHER_FORMS = (bench_forms.VMAP, bench_forms.MAP)  # of replicas
COUNTS = (16, 8, 4, 32, 2)
ROUNDS, ROUNDS_SECONDS = 5, 3.0  # of one measurement

Row = dict[str, Any]


class Measurement(NamedTuple):
    """Rows that are measured together."""

    subject: str
    name: str
    rows: Callable[[], Iterable[Row]]


def speed(flags: argparse.Namespace, end: float) -> Iterator[Row]:
    """Yield rows until `end`, by time.monotonic: measurements, then the best rates and the study's
    hours with the goals, and the names of what was left out."""
    bench = Bench(flags.steps, flags.share, end)
    expected = EXPECTED if bench_step.on_gpu() else {}
    yield from in_time(measurements(bench, flags), end, expected)
    yield from bench.best_rates()
    for precision in flags.precisions:
        yield from bench.study(precision)
    yield {
        "what": "memory of JAX in this process, with all of the above",
        "peak_gb": bench_train.peak_memory(),
    }


def measurements(bench: "Bench", flags: argparse.Namespace) -> list[Measurement]:
    """Return all measurements in the order of their importance.

    Other forms of replicas than that of jobs and compiled forms of PyTorch come last: each may take
    a minute.
    """
    networks = [name for name in NETWORKS if name in flags.networks]
    extremes, ends = networks[:3], networks[:2]
    first, *others = flags.precisions
    counts = [n for n in COUNTS if n in flags.replicas]
    counts += [n for n in flags.replicas if n not in (1, *COUNTS)]

    def measurement(subject: str, *settings: Any, method: str = "") -> Measurement:
        name = " ".join(map(str, (subject, *settings)))
        measure = getattr(bench, method or subject)
        return Measurement(subject, name, lambda: measure(*settings))

    forms = bench.compiled_forms()
    listed = [measurement("step", name, first) for name in networks]
    listed += [measurement("training", networks[0], first, flags.epochs, flags.share)]
    listed += [measurement("replicas", name, first, n) for n in counts[:1] for name in networks]
    listed += [measurement("step", name, p) for p in others for name in extremes]
    listed += [
        measurement("replicas", name, p, n) for p in others for n in counts[:1] for name in extremes
    ]
    listed += [measurement("replicas", name, first, n) for n in counts[1:] for name in ends]
    listed += [measurement("scoring")]
    listed += [measurement("profile", n, first) for n in ends if bench_step.on_gpu()]
    listed += [measurement("uncached", n, first) for n in ("C1-C5", "C1-C3") if n in networks]
    listed += [measurement("step", n, p) for p in others for n in networks if n not in extremes]
    listed += [measurement("compile", name, first, form) for name in extremes for form in forms]
    listed += [
        measurement("compile", name, p, forms[0]) for p in others for name in extremes if forms
    ]
    listed += [
        measurement("forms", name, first, n, form, method="replicas")
        for n in counts[:1]
        for name in networks[:1]
        for form in OTHER_FORMS
    ]
    return listed


def in_time(
    measurements: Sequence[Measurement],
    end: float,
    expected: Mapping[str, float],
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Row]:
    """Yield the rows of the measurements until `end`, and a row for each that did not fit.

    A measurement does not begin if the longest one of its subject (before the first, the `expected`
    seconds) would not fit into what is left: first of the subject's share, then of the whole time.
    One that fails gives a row that says why.
    """
    total = end - clock()
    left = {subject: share * total for subject, share in SHARES.items()}
    longest: dict[str, float] = {}
    waiting = list(measurements)
    for shared in (True, False):
        for measurement in list(waiting):
            subject, begin = measurement.subject, clock()
            available = end - begin
            needed = longest.get(subject, expected.get(subject, 0))
            if (min(available, left[subject]) if shared else available) <= needed:
                continue
            waiting.remove(measurement)
            try:
                yield from measurement.rows()
            except Exception as error:  # of any part of JAX or PyTorch: the others are measured
                yield {"what": "failed", "name": measurement.name, "error": _one_line(error)}
            taken = clock() - begin
            left[subject] -= taken
            longest[subject] = max(longest.get(subject, 0), taken)
    for measurement in waiting:
        yield {"what": "left out, no time", "name": measurement.name}


class Setup(NamedTuple):
    """What all measurements of a network have in common."""

    frozen: tuple[str, ...]
    maps: dataset.BatchSource
    first: str
    caching: float  # seconds


class Choice(NamedTuple):
    """How runs are trained: the form, and the number of replicas."""

    form: str
    replicas: int


ONE = Choice(ALONE, 1)
Rates = dict[Choice, float]  # images/s


class Bench:
    """The measurements, and the rates that the last rows are made from."""

    def __init__(self, steps: int, share: float, end: float) -> None:
        self._steps, self._end = steps, end
        self._replica_steps = min(steps, 2 * SCANNED_STEPS)
        self._source = bench_train.papers_dataset(share)
        self._params = jax.device_get(init(alexnet.AlexNet(), jax.random.key(0)))
        # By network and precision: images/s by form of replicas, and by form of PyTorch's step.
        self._ours: dict[tuple[str, str], Rates] = defaultdict(dict)
        self._theirs: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        self._floor: dict[tuple[str, str], float] = {}
        self._setups: dict[str, Setup] = {}
        self._torch = None
        if find_spec("torch"):
            import bench_torch

            self._torch = bench_torch

    def compiled_forms(self) -> tuple[str, ...]:
        """Return the forms of PyTorch's step that take long to compile, where there are any."""
        if self._torch is None or not self._torch.on_gpu():
            return ()
        return (self._torch.COMPILED_GRAPH, self._torch.REDUCE_OVERHEAD)

    def step(self, name: str, precision: str) -> Iterator[Row]:
        """Yield the row of one training's step."""
        setup = self._setup(name)
        ours = self._our_epoch(setup, precision, ONE, self._steps)
        row = self._compare("step", name, precision, ours, cached=True)
        key = name, precision
        self._ours[key][ONE], self._floor[key] = row["ours"], row["floor"]
        if "theirs" in row:
            self._theirs[key][row["theirs_by"]] = row["theirs"]
        yield row

    def uncached(self, name: str, precision: str) -> Iterator[Row]:
        """Yield the row of a step that computes the frozen layers again, in both programs."""
        setup = self._setup(name)._replace(maps=self._source, first="C1")
        ours = self._our_epoch(setup, precision, ONE, self._steps)
        what = "step without cached activations"
        yield self._compare(what, name, precision, ours, cached=False)

    def compile(self, name: str, precision: str, form: str) -> Iterator[Row]:
        """Yield the row of PyTorch's step in a compiled form."""
        begin = time.perf_counter()
        row = self._measure("PyTorch, compiled step", name, precision, None, form, cached=True)
        self._theirs[name, precision][form] = row["theirs"]
        yield row | {"seconds": time.perf_counter() - begin}

    def profile(self, name: str, precision: str) -> Iterator[Row]:
        """Yield the row of the kernels of one training's step."""
        run = self._our_epoch(self._setup(name), precision, ONE, SCANNED_STEPS)
        kernels = bench_profile.profile(run, SCANNED_STEPS)
        what = "kernels by operation, microseconds per step"
        yield {"what": what, "network": name, "precision": precision, **kernels}

    def replicas(self, name: str, precision: str, count: int, form: str = SUM) -> Iterator[Row]:
        """Yield the row of several trainings as one program."""
        setup, choice = self._setup(name), Choice(form, count)
        candidates = {count: self._our_epoch(setup, precision, choice, self._replica_steps)}
        for row in bench_study.replica_rows(
            name, precision, candidates, self._replica_steps, ROUNDS, ROUNDS_SECONDS, form
        ):
            key = name, precision
            # All activations are computed once for each training, although trainings may share.
            per_image = 1 / row["ours"] + self._per_image(setup.caching)
            self._ours[key][choice] = row["ours"] = 1 / per_image
            row["of_floor"] = row["ours"] / row["floor"]
            one = self._ours[key].get(ONE)
            row["times_one"] = one and count * one / row["ours"]
            peak = bench_train.peak_memory()
            yield row | {"ratio": self._ratio(key, row["ours"]), "ours_peak_gb_so_far": peak}

    def training(self, name: str, precision: str, epochs: int, share: float) -> Iterator[Row]:
        """Yield the row of a whole run, with all it does, in a process of its own."""
        begin = time.perf_counter()
        half = (self._end - time.monotonic()) / 2  # of the time that is left, for the others
        receiver, sender = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(
            target=_train, args=(sender, name, epochs, share, precision)
        )
        process.start()
        sender.close()  # this end of it: a process that dies ends the waiting
        try:
            if not receiver.poll(half):
                raise TimeoutError(f"not finished after {half:.0f} s")
            result = receiver.recv()
        except EOFError as error:
            raise RuntimeError(f"the process ended with {process.exitcode}") from error
        finally:
            process.kill()
            process.join()
        if isinstance(result, str):
            raise RuntimeError(result)
        for row in result:
            yield row | {"seconds_of_process": time.perf_counter() - begin}

    def scoring(self) -> Iterator[Row]:
        """Yield the row of scoring all ROIs in eight orientations, in float32."""
        network = alexnet.AlexNet()
        params = jax.device_put(self._params)  # as PyTorch's, before the time begins

        def ours() -> None:
            predict.predict(network, params, self._source)

        def measure(form: str | None) -> Row:
            candidates = {"ours": ours, **bench_step.reference("float32")}
            if form:
                source = self._torch.rois(self._source)
                candidates["theirs"] = self._torch.scoring(source, "float32", form)
            best = bench_step.time_in_turn(candidates, ROUNDS, ROUNDS_SECONDS)
            images = orientations.COUNT * int(self._source.count)  # int32 would overflow
            floor = images * bench_step.FORWARD_OPERATIONS / best["peak"]
            row = {"what": "scoring, images/s", "network": "all layers", "precision": "float32"}
            row |= {side: images / best[side] for side in ("ours", "theirs") if side in best}
            if form:
                row |= {"theirs_by": form, "ratio": row["ours"] / row["theirs"]}
            row |= {"floor": images / floor, "of_floor": floor / best["ours"]}
            return row | {"load": os.getloadavg()[0]}

        yield self._try_forms(measure)

    def best_rates(self) -> Iterator[Row]:
        """Yield a row for one training and one for the best form of replicas, with the goals."""
        for key, rates in self._ours.items():
            if key not in self._floor:
                continue
            theirs = self._theirs[key]
            for choice in dict.fromkeys((ONE, _best(rates))):
                fraction = rates[choice] / self._floor[key]
                ratio = self._ratio(key, rates[choice])
                yield {
                    "what": "best rates, images/s, and goals",
                    "network": key[0],
                    "precision": key[1],
                    "form": choice.form,
                    "replicas": choice.replicas,
                    "ours": rates[choice],
                    "of_floor": fraction,
                    f"goal {FLOOR_GOAL}": _met(fraction >= FLOOR_GOAL),
                    "theirs": max(theirs.values(), default=None),
                    "theirs_by": max(theirs, key=theirs.__getitem__, default=None),
                    "ratio": ratio,
                    f"goal {TORCH_GOAL}": ratio and _met(ratio >= TORCH_GOAL),
                }

    def study(self, precision: str) -> Iterator[Row]:
        """Yield the rows of the study's projected hours: in the best form, and as jobs train."""
        measured = {name: r for (name, p), r in self._ours.items() if p == precision and r}
        plans = {"the best": _best, "as jobs train": _choice_of_jobs}
        for plan, choose in plans.items():
            choices = {name: choose(rates) for name, rates in measured.items()}
            rates = {name: measured[name][c] for name, c in choices.items() if c in measured[name]}
            if not rates:
                continue
            row = bench_study.projection(precision, rates)  # the rates include caching
            complete = len(rates) == len(config.NETWORKS)
            met = _met(row["hours"] < HOURS_GOAL) if complete else "networks are missing"
            forms = ", ".join(f"{n}: {choices[n].form} {choices[n].replicas}" for n in rates)
            yield row | {f"goal {HOURS_GOAL:g} h": met, "forms": plan, "of each network": forms}

    def _setup(self, name: str) -> Setup:
        """Return the source of a network, and the seconds of its activations, compiled before."""
        if name not in self._setups:
            frozen = optimizer.frozen_layers(name)
            for _ in range(2 if frozen else 1):
                feature_cache.clear_cache()
                begin = time.perf_counter()
                maps, first = feature_cache.cached_source(
                    alexnet.AlexNet(), self._params, self._source, frozen
                )
                jax.block_until_ready(maps)
                seconds = time.perf_counter() - begin
            self._setups[name] = Setup(frozen, maps, first, seconds if frozen else 0.0)
        return self._setups[name]

    def _our_epoch(
        self, setup: Setup, precision: str, choice: Choice, steps: int
    ) -> Callable[[], None]:
        return bench_study.epoch_of_replicas(
            setup.frozen,
            self._params,
            setup.maps,
            setup.first,
            choice.replicas,
            precision,
            steps,
            form=choice.form,
        )

    def _compare(
        self, what: str, name: str, precision: str, ours: Callable[[], None], cached: bool
    ) -> Row:
        """Return the row of one step, compared with PyTorch's where that works."""
        ours()  # so that a failure is not taken for one of PyTorch's
        return self._try_forms(
            lambda form: self._measure(what, name, precision, ours, form, cached)
        )

    def _try_forms(self, measure: Callable[[str | None], Row]) -> Row:
        """Return the row with the first form of PyTorch that works, and why others do not."""
        failed = {}
        if self._torch:
            forms = (self._torch.GRAPH,) if self._torch.on_gpu() else ()
            for form in (*forms, self._torch.EAGER):
                try:
                    return measure(form) | failed
                except Exception as error:  # ours is measured without PyTorch then
                    failed[f"{form} failed"] = _one_line(error)
        return measure(None) | failed

    def _measure(
        self,
        what: str,
        name: str,
        precision: str,
        ours: Callable[[], None] | None,
        form: str | None,
        cached: bool,
    ) -> Row:
        """Return the row of a step, of ours, of PyTorch's in a form, or of both."""
        setup = self._setup(name)
        candidates = bench_step.reference(precision) | ({"ours": ours} if ours else {})
        caching = {"ours": setup.caching if cached else 0.0}
        if form:
            self._torch.reset_peak_memory()
            steps = self._their_steps(setup.frozen, precision, form, cached)
            candidates["theirs"], caching["theirs"] = steps
        best = bench_step.time_in_turn(candidates, ROUNDS, ROUNDS_SECONDS)
        row = {"what": f"{what}, batch {BATCH}", "network": name, "precision": precision}
        for side in ("ours", "theirs"):
            if side in best:
                step = best[side] / self._steps
                row[side] = 1 / (step / BATCH + self._per_image(caching[side]))
                row |= {f"{side}_ms": 1e3 * step, f"{side}_caching_s": caching[side]}
        if form:
            row["theirs_by"] = form
        row["floor"] = BATCH / bench_step.floor(len(setup.frozen), best, cached)
        if ours:
            row["of_floor"] = row["ours"] / row["floor"]
        if ours and form:
            row["ratio"] = row["ours"] / row["theirs"]
        row |= {"peak_tflops": best["peak"] / 1e12, "copy_gb_s": best["bandwidth"] / 1e9}
        if form:
            row["theirs_peak_gb"] = self._torch.peak_memory()
        return row | {"ours_peak_gb_so_far": bench_train.peak_memory(), "load": os.getloadavg()[0]}

    def _their_steps(
        self, frozen: tuple[str, ...], precision: str, form: str, cached: bool
    ) -> tuple[Callable[[], None], float]:
        """Return PyTorch's block of steps, and the seconds of its activations."""
        source, seconds = self._torch.rois(self._source), 0.0
        if cached and frozen:
            compute, source = self._torch.compute_activations(len(frozen), source, precision)
            for _ in range(2):  # the first warms up
                begin = time.perf_counter()
                compute()
                seconds = time.perf_counter() - begin
        # Without the empty rows that follow ours: an index out of range ends CUDA in this process.
        images = orientations.COUNT * int(self._source.count)
        order = bench_study.random_order(images, self._steps)
        return self._torch.training(len(frozen), source, order, precision, form), seconds

    def _per_image(self, caching: float) -> float:
        """Return the part of `caching` seconds for one image of a training of all ROIs."""
        return caching / (EPOCHS * orientations.COUNT * self._source.count)

    def _ratio(self, key: tuple[str, str], rate: float) -> float | None:
        return rate / max(self._theirs[key].values()) if self._theirs[key] else None


def _best(rates: Rates) -> Choice:
    return max(rates, key=rates.__getitem__)


def _choice_of_jobs(rates: Rates) -> Choice:
    """Return what jobs choose where enough memory is free: the most replicas of at most
    MAX_WIDTH."""
    together = [choice for choice in rates if choice.form == SUM and choice.replicas <= MAX_WIDTH]
    return max(together, key=lambda choice: choice.replicas, default=ONE)


def _train(sender: Connection, network: str, epochs: int, share: float, precision: str) -> None:
    """Send the rows of whole runs, or why they failed. It runs in a process of its own."""
    try:
        environment.start_jax()
        sender.send(list(bench_train.speed([network], epochs, share, precision)))
    except Exception as error:
        sender.send(_one_line(error))


def _met(goal: bool) -> str:
    return "met" if goal else "not met"


def _one_line(error: Exception) -> str:
    """Return the first line of a message."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"
