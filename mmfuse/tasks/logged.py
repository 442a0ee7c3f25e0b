"""Logged: many values at the end of an evaluation, in little time."""

from __future__ import annotations

from collections.abc import Mapping, Set

import lightning as L
import torch


def log_all(task: L.LightningModule, values: Mapping[str, float], shown: Set[str]) -> None:
    """What ``self.log`` does with each value at the end of validation or test, all at once.

    ``self.log`` makes a metric of each, sums and divides it: of some forty values that takes as
    long as ranking a thousand users. These go straight to where it would bring them: callbacks,
    loggers, and what ``Trainer.test`` prints and returns.

    Args:
        task: in its ``on_validation_epoch_end`` or ``on_test_epoch_end``.
        values: by name; the same in every process.
        shown: names of those that the progress bar shows.
    """
    trainer = task.trainer
    if trainer.state.fn == "fit":
        loop = trainer.fit_loop.epoch_loop.val_loop
    else:
        loop = trainer.test_loop if trainer.testing else trainer.validate_loop
    # Lightning's own name for what an evaluation gives back; without it, each in turn.
    results = getattr(loop, "_logged_outputs", None)
    for name, value in values.items():
        if name in shown or not results:
            task.log(name, value, prog_bar=name in shown)
    if results and not trainer.sanity_checking:
        found = {n: torch.tensor(v) for n, v in values.items() if n not in shown}
        for kept in (trainer.callback_metrics, trainer.logged_metrics, results[-1]):
            kept.update(found)
