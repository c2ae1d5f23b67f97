"""What stands behind `app.py`: the page, and what its handlers ask for.

`page` has four `tabs`, whose handlers `endpoints` makes public. `model` computes, on a GPU where there is one; `people`
are what visitors build, `building` builds them, `views` and `films` show them, `drivers` move them; `settings` are the
app's limits, `progress` tells how far a job is, and `style` is how all of it looks.
"""

import os

try:
    import spaces  # before torch, or ZeroGPU cannot stand in for it
except ImportError:
    spaces = None

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # counts before torch only; `invertavatar.scripts.console` says why
