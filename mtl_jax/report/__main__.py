"""python -m mtl_jax.report DIR

Makes DIR/report.html again from the results in DIR. Trains nothing.
Exit status: 0 done, 2 invalid folder (one line says how).
"""

import argparse
import sys

from mtl_jax import report
from mtl_jax.io import command_line, paths
from mtl_jax.types import InputError


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m mtl_jax.report",
        description="Makes DIR/report.html again from the results in DIR, without training.",
    )
    parser.add_argument(
        "folder", metavar="DIR", type=paths.path, help="work folder of a finished job"
    )
    folder = parser.parse_args().folder
    try:
        print(report.summary(folder))
        print(f"report: {report.write(folder)}")
    except InputError as error:
        print("mtl_jax: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(command_line.run(main))
