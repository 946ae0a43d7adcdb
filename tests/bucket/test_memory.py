"""The bucket in memory keeps the contract, so that what is tested with it holds for others."""

from __future__ import annotations

import pytest

from tests.bucket.contract import BucketContract
from tests.bucket.memory import MemoryBucket


class TestMemoryBucket(BucketContract):
    @pytest.fixture
    def bucket(self):
        return MemoryBucket()
