"""Results evaluated once for all tests of the report."""

import pytest
from report_results import result_of

from mmfuse.fusion import ConcatFusion, SequentialFusion
from mmfuse.robustness import RobustnessResult


@pytest.fixture(scope="session")
def sequential() -> RobustnessResult:
    return result_of(SequentialFusion)


@pytest.fixture(scope="session")
def concatenated() -> RobustnessResult:
    return result_of(ConcatFusion)
