"""The conformance kit: what every encoder, fusion and objective promises, as checks to run.

In the spirit of scikit-learn's ``check_estimator``::

    from mmfuse.testing import check_fusion

    def test_my_fusion_keeps_its_promises():
        check_fusion(MyFusion, out_dim=8)

Each function runs every check and raises one ``ConformanceError`` that names the class,
each promise broken and what was found.
"""

from mmfuse.errors import ConformanceError
from mmfuse.testing.encoder import check_encoder
from mmfuse.testing.fusion import check_fusion
from mmfuse.testing.objective import check_objective

__all__ = ["ConformanceError", "check_encoder", "check_fusion", "check_objective"]
