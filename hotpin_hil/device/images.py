"""Names of the firmware's images, as they appear in the results file."""

from __future__ import annotations

WITH_CONSOLE = "with test console"
"""The image that has the test console, which answers the harness's commands."""
RELEASE = "release"
"""The image that ships. It sends records, but has no console."""
PROFILE = "allocation profile"
"""The image with the test console and the allocation profile."""
