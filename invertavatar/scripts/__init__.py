"""In a checkout, where to find `invertavatar.scripts`: in the folder `scripts`, which a wheel has in this place."""

from pathlib import Path

__path__ = [str(Path(__file__).parents[2] / "scripts")]
