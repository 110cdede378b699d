"""`python -m hotpin_hil` is `hotpin-hil`."""

import sys

from hotpin_hil.cli import main

sys.exit(main())
