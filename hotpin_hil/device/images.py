"""Names of the firmware's images, as the results file has them."""

from __future__ import annotations

WITH_CONSOLE = "with test console"
"""Image with the console that answers the harness's commands."""
RELEASE = "release"
"""Image that ships; it sends records but has no console."""
