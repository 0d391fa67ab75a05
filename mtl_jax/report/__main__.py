"""python -m mtl_jax.report DIR

Write DIR/report.html from the results in the work folder DIR, without training.
Exit code 0 done, 2 invalid folder (one line on stderr).
"""

import argparse
import sys

from mtl_jax import report
from mtl_jax.io import command_line, paths
from mtl_jax.types import InputError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command_line.program("python -m mtl_jax.report"),
        description="Write DIR/report.html from the results in DIR, without training.",
    )
    parser.add_argument(
        "folder", metavar="DIR", type=paths.path, help="work folder of a finished job"
    )
    folder = parser.parse_args(arguments).folder
    try:
        print(report.summary(folder))
        print(f"report: {report.write(folder)}")
    except InputError as error:
        print("mtl_jax: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(command_line.run(main))
