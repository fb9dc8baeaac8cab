"""Where the demo keeps what it fetched and built."""

import os
from importlib.util import find_spec
from pathlib import Path

from secondpass.errors import MissingExtra

VARIABLE = "SECONDPASS_CACHE"
"""The environment variable that names another folder."""


def cache_folder() -> Path:
    """Return the cache folder, whether or not it exists: the user's own, or what ``SECONDPASS_CACHE`` names.

    :raises MissingExtra: If the variable isn't set, and platformdirs isn't there to know the user's folder.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    if find_spec("platformdirs") is None:
        raise MissingExtra("secondpass demo", "platformdirs", "demo")
    import platformdirs  # not needed where the variable is set

    return platformdirs.user_cache_path("secondpass", appauthor=False)
