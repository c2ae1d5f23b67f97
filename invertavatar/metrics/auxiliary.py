"""Where the networks are that only losses and metrics need: none of them is part of the package."""

import os
from pathlib import Path

from ..errors import InvertAvatarError

SHARED_FOLDER = Path(__file__).parents[3] / "shared" / "models"  # beside a checkout of the repository


def find_auxiliary(path: str | Path | None, variable: str, name: str, cure: str) -> Path:
    """The file of an auxiliary network: as given, else of an environment variable, else in `../shared/models`.

    Args:
        path: Given by the user, or None.
        variable: Of the environment.
        name: The file's usual name.
        cure: A sentence that says how to get the file.

    Raises:
        InvertAvatarError: There is no such file.
    """
    given = path or os.environ.get(variable)
    found = Path(given) if given else SHARED_FOLDER / name
    if not found.is_file():
        where = f"There is no file {given}" if given else f"{name} is needed for this and not here"
        raise InvertAvatarError(f"{where}. {cure} Or name the file by ${variable}.")
    return found
