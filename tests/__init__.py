import pytest

# A check that fails there shall show both sides, as in a test.
pytest.register_assert_rewrite("tests.helpers")
