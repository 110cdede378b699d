"""The harness's own tests."""

import pytest

pytest.register_assert_rewrite("tests.support.plugin_suite")
