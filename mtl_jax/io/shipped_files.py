"""Find the files outside the package that are shipped with it: configs and default weights."""

import sysconfig
from pathlib import Path


def find(path: str) -> Path:
    """Return where `path`, such as 'configs/mttl.py', is: in the checkout, or where a wheel has it.

    That is in share/mtl_jax: for all users, for this user, or beside the packages
    (pip install --target). If it is nowhere, the path in the checkout is returned.
    """
    root = Path(__file__).resolve().parents[2]
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    bases = [*(Path(sysconfig.get_path("data", scheme)) for scheme in schemes), root]
    candidates = [root / path, *(base / "share" / "mtl_jax" / path for base in bases)]
    return next((candidate for candidate in candidates if candidate.exists()), candidates[0])
