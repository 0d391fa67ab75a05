"""Serves a page, on this machine alone, to look through scored lesions. For research only.

    python tools/review.py DIR [--port 8017]

DIR was made by tools/score.py, or holds several such folders, as of a single-task and a multi-task
model: the same case and lesion in two of them are shown side by side. Needs the [review] extra.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mtl_jax.nouns import InputError

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer

HOST = "127.0.0.1"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--port", type=int, default=8017, help="0: any free one (%(default)s)")
    given = parser.parse_args(arguments)
    try:
        server = make_server(given.folder, given.port)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"http://{HOST}:{server.port}/  (Ctrl-C ends it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return 0
    return 0


def make_server(folder: Path, port: int) -> "BaseWSGIServer":
    """The server, bound but not yet serving. InputError: nothing to show, or the port is taken."""
    from mtl_jax.review.scored import read

    scored = read(folder)
    try:
        from werkzeug import serving

        from mtl_jax.review.page import make_app
    except ImportError as error:
        raise InputError(
            "the page needs the [review] extra: pip install 'mtl_jax[review]'"
        ) from error
    try:
        return serving.make_server(HOST, port, make_app(scored), threaded=True)
    # Werkzeug ends the process where a port is taken.
    except (OSError, OverflowError, SystemExit) as error:
        raise InputError(f"--port {port}: cannot be used; choose another") from error


if __name__ == "__main__":
    sys.exit(main())
