"""Export a finished run as a model bundle for scoring images.

    mtl-jax export runs/demo/runs/mttl-C1-test-seed0 --output model
        [--out-of-fold CROSS_VALIDATION] [--format stablehlo] [--format onnx]

RUN is a folder of WORKDIR/runs/. --out-of-fold is the work folder of a cross-validation of the same
training cases; its scores calibrate the model and set its operating points. For research only.
"""

import argparse

from mtl_jax import environment
from mtl_jax.io import paths

FORMATS = ("stablehlo", "onnx")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=paths.path, metavar="RUN", help="a folder of WORKDIR/runs/")
    parser.add_argument("--output", type=paths.path, required=True, help="folder to write")
    parser.add_argument(
        "--out-of-fold", type=paths.path, metavar="DIR", help="work folder of a cross-validation"
    )
    parser.add_argument("--cache", type=paths.path, help="folder of the shards, if it was moved")
    parser.add_argument(
        "--format",
        action="append",
        choices=FORMATS,
        default=[],
        help="also write the network in this format",
    )
    args = parser.parse_args(arguments)
    environment.start_jax()
    from mtl_jax import bundle
    from mtl_jax.bundle.build import build_model
    from mtl_jax.bundle.model_card import render_card
    from mtl_jax.bundle.onnx_graph import to_onnx
    from mtl_jax.bundle.stablehlo import to_stablehlo
    from mtl_jax.io import atomic

    model = build_model(args.run, args.out_of_fold, args.cache)
    makers = {"stablehlo": to_stablehlo, "onnx": to_onnx}
    extras = {f"model.{kind}": makers[kind](model) for kind in args.format}
    bundle.save(model, render_card(model), args.output, extras)
    about = model.about
    print(f"{args.output}: {about['run']['id']}, tested on {model.tasks[0]}")
    print(f"calibration: {about['out_of_fold'] or about['no_calibration']}")
    print(f"SHA-256 of its SHA256SUMS: {atomic.file_sha256(args.output / atomic.CHECKSUMS)}")
    print("phantom model. " * about["phantom"] + about["use"])
    return 0
