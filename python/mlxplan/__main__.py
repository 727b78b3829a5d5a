"""`python -m mlxplan`: the program of this environment."""

import os
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent


def program():
    """The planner: among the environment's scripts, or beside the packages (`pip install --target`)."""
    folders = [sysconfig.get_path("scripts"), HERE.parent / "bin", sysconfig.get_path("scripts", f"{os.name}_user")]
    found = (Path(folder) / "mlxplan" for folder in folders)
    return next((path for path in found if path.is_file()), None)


if __name__ == "__main__":
    path = program()
    if path is None:
        sys.exit(f"error: the program mlxplan is not where pip puts programs of {HERE}; install it again")
    os.execv(path, [path, *sys.argv[1:]])
