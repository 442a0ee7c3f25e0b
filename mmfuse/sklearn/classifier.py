"""FusionClassifier: a multimodal classifier with scikit-learn's methods."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from mmfuse.data.targets import RawTarget
from mmfuse.errors import DataError
from mmfuse.sklearn.estimator import FusionEstimator
from mmfuse.sklearn.targets import check_target
from mmfuse.spec import TargetKind


class FusionClassifier(ClassifierMixin, FusionEstimator):
    """A multimodal classifier with scikit-learn's methods; rows may lack modalities.

    ``X`` may be

    - a mapping from modalities to their rows: arrays ``(N, ...)``, where a row of NaN alone
      is absent, or lists with None where absent (strings are texts). For
      ``cross_val_score`` and its like wrap it in ``MultimodalArrays``. To ``predict``, a
      modality that the mapping leaves out is absent from every row;
    - a DataFrame, whose ``columns`` make up modalities, absent where all cells are empty;
    - a 2-D array, which is one modality called ``table``.

    A NaN among numbers of the same row is an error, as everywhere in mmfuse, unless
    ``missing_cells`` is ``mean`` or ``keep``.

    Args:
        fusion: a fusion's name, such as ``GatedFusion``; a class, a partial of one; or a
            mapping with ``class_path`` and ``init_args``.
        encoders: one for each modality, given in the same ways; None takes the default of
            each modality's kind. The order is the fusion order.
        columns: for a DataFrame, each modality's columns: names, patterns such as
            ``gene_*``, or a ``ColumnGroup``. None makes one modality of all columns.
        objectives: losses besides the supervised one.
        max_epochs: passes over the training rows at most.
        batch_size: rows a training batch.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        modality_dropout: rate with which a training row loses each modality, anew each epoch.
        missing: simulated absence in the training and validation rows.
        missing_cells: an empty cell of a present row is an ``error``, takes the training
            ``mean``, or is left to an encoder that takes missing cells (``keep``), as the
            default ones of vectors and tables do.
        validation_fraction: share of the rows given to ``fit`` that chooses the best epoch
            and ends training early; 0 trains on all rows for ``max_epochs``. One row of
            every class always trains, and too few rows make no validation.
        n_iter_no_change: epochs without a lower validation loss before training ends.
        accelerator: as Lightning calls it: ``auto``, ``cpu``, ``gpu``, ``mps``.
        random_state: an int gives the same model every time on a CPU. None draws from the
            system, and unlike elsewhere in scikit-learn not from numpy's global state,
            which ``fit`` leaves as it is.
        verbose: show a progress bar.

    Attributes:
        model_: the trained ``FusionModel``, on the CPU; ``mmfuse.save`` writes it.
        classes_: the labels, sorted; for several labels at once their numbers.
        modalities_: in fusion order.
        n_iter_: epochs that training took.
        n_features_in_: columns, if ``X`` was an array or a DataFrame.
        feature_names_in_: their names, if it was a DataFrame.

    Raises:
        ConfigError: at ``fit``, a parameter that cannot be used.
        DataError: rows or labels that cannot be learned from; a ``ValueError``.
        UnknownModalityError: a modality that the model was not trained on.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.model_selection import cross_val_score
        >>> from mmfuse.sklearn import MultimodalArrays
        >>> flowers, species = load_iris(return_X_y=True)
        >>> X = MultimodalArrays({"sepal": flowers[:, :2], "petal": flowers[:, 2:]})
        >>> model = FusionClassifier(max_epochs=8, learning_rate=1e-2, random_state=0)
        >>> bool(cross_val_score(model, X, species, cv=2).mean() > 0.8)
        True
        >>> model.fit(X, species).predict({"petal": [[1.4, 0.2], [5.5, 2.0]]})  # no sepal
        array([0, 2])
    """

    classes_: np.ndarray

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each row; for several labels at once 0 or 1 for each."""
        found = self._predict(X)
        if self._is_multilabel:
            return (found > 0.5).astype(int)
        return self.classes_[found.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities ``(N, K)``, columns as in ``classes_``."""
        return self._predict(X)

    @property
    def _is_multilabel(self) -> bool:
        return self._target_spec.kind == "multilabel"

    def _learn_target(self, y: Any) -> tuple[RawTarget, np.ndarray, tuple[str, ...]]:
        labels = check_target(self, y)
        check_classification_targets(labels)
        if type_of_target(labels, input_name="y") == "multilabel-indicator":
            values = np.asarray(labels, dtype=float)
            self.classes_ = np.arange(values.shape[1])
            return RawTarget(values, "multilabel"), np.zeros(len(values), int), ()
        if labels.ndim != 1:
            raise DataError(
                f"y has shape {labels.shape} and more than two values; expected one label a row, "
                "or rows of 0 and 1 for several labels at once. Train one model for each column."
            )
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(
                f"y has one class only ({self.classes_[0]!r}); expected two or more. Check y."
            )
        kind: TargetKind = "binary" if len(self.classes_) == 2 else "multiclass"
        return RawTarget(codes, kind), codes, tuple(map(str, self.classes_))

    def _known_target(self, y: Any) -> RawTarget:
        labels = check_target(self, y)
        if self._is_multilabel:
            return RawTarget(np.asarray(labels, dtype=float))
        # The model knows classes by name; a name is never mistaken for "unknown", as -1 is.
        names = dict(zip(self.classes_.tolist(), self._target_spec.classes, strict=True))
        coded = np.array([names.get(v, str(v)) for v in labels.tolist()], dtype=object)
        return RawTarget(coded, self._target_spec.kind)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
