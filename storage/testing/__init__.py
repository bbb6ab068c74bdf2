"""Tests that anybody's store can be put to. They need pytest."""

import pytest

pytest.register_assert_rewrite("storage.testing.object_store")
