"""The scikit-learn face: fit and predict on arrays and frames, without YAML or a Trainer.

Estimators for ``cross_val_score``, ``GridSearchCV`` and everything else that takes one::

    from mmfuse.sklearn import FusionClassifier

    model = FusionClassifier(fusion="GatedFusion", modality_dropout=0.3)
    model.fit({"image": images, "text": texts}, labels)
"""

from mmfuse.sklearn.arrays import MultimodalArrays
from mmfuse.sklearn.classifier import FusionClassifier
from mmfuse.sklearn.regressor import FusionRegressor
from mmfuse.sklearn.survival import FusionSurvival

__all__ = ["FusionClassifier", "FusionRegressor", "FusionSurvival", "MultimodalArrays"]
