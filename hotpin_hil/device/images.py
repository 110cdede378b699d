"""Names of the firmware's images, as the results file has them."""

from __future__ import annotations

WITH_CONSOLE = "with test console"
"""The image that answers the harness's commands."""
RELEASE = "release"
"""The image that ships: it sends records and answers nothing."""
