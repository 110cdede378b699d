"""The harness's own tests."""

import pytest

pytest.register_assert_rewrite("tests.plugin_suite")
