"""Imputers under training: shown the rows, kept in the checkpoint, chosen in YAML."""

import numpy as np
import pytest
import torch
import yaml

import mmfuse
from mmfuse import ArrayData, DataSpec, FusionModel, ModalitySpec, SupervisedTask, Trainer
from mmfuse.cli import main
from mmfuse.errors import ConfigError
from mmfuse.fusion import ConcatFusion
from mmfuse.fusion.imputers import (
    CascadeImputer,
    KNNImputer,
    MeanImputer,
    MixtureImputer,
    PrototypeImputer,
    RidgeImputer,
)
from mmfuse.imputing import ImputerFit, fit_imputer
from mmfuse.objectives import ImputationLoss
from mmfuse_encoders import IdentityEncoder

ROWS = 120
PATH = "mmfuse.fusion.ImputedFusion"


def data(**options):
    draw = np.random.default_rng(0)
    label = np.arange(ROWS) % 3
    a = draw.normal(size=(3, 4))[label] * 2 + draw.normal(size=(ROWS, 4))
    b = a @ draw.normal(size=(4, 3)) + 0.1 * draw.normal(size=(ROWS, 3))
    b[::4] = np.nan
    return ArrayData({"a": a, "b": b}, {"kind": label}, batch_size=32, **options)


def task(imputer, encoder="MLPEncoder", objectives=(), **options):
    init = {"options": {"out_dim": 8, "hidden": 8}, "imputer": imputer}
    encoders = {
        "*": encoder
        if encoder == "IdentityEncoder"
        else {"class_path": f"mmfuse_encoders.{encoder}", "init_args": {"out_dim": 6}}
    }
    made = {"class_path": PATH, "init_args": init}
    return SupervisedTask(encoders, made, list(objectives), modality_dropout=0.3, **options)


def trainer(folder, epochs=2, **options):
    return Trainer(
        default_root_dir=str(folder),
        max_epochs=epochs,
        enable_progress_bar=False,
        logger=False,
        **options,
    )


def rows_kept(model, source):
    """The standardised rows that an imputer should hold of this model's encodings."""
    with torch.no_grad(), model.evaluating():
        batches = list(source.loader("train"))
        tokens = [model.fusion.blanked(model.encode(b), model.present(b)) for b in batches]
    x = torch.cat([model.fusion.joined(t) for t, _ in tokens])
    present = torch.cat([p for _, p in tokens])
    return x, present


@pytest.mark.parametrize(
    "imputer",
    [MeanImputer(), RidgeImputer(), KNNImputer(), PrototypeImputer(3), MixtureImputer(3)],
    ids=lambda i: type(i).__name__,
)
def test_the_best_checkpoint_holds_an_imputer_of_its_own_encoders(imputer, tmp_path):
    run, source = trainer(tmp_path), data()
    run.fit(task(imputer), datamodule=source)
    model = mmfuse.load(run.checkpoint_callback.best_model_path)
    x, present = rows_kept(model, source)
    b = model.fusion.imputer.split(x)["b"]
    expected = b[present[:, 1]].mean(dim=0)
    torch.testing.assert_close(model.fusion.imputer.mean[6:], expected, rtol=1e-4, atol=1e-5)
    if isinstance(imputer, KNNImputer):
        assert model.fusion.imputer.rows.shape == (len(source.rows("train")), 12)


def test_without_validation_rows_the_last_checkpoint_does_too(tmp_path):
    run, source = trainer(tmp_path), data(val=0.0)
    run.fit(task(MeanImputer()), datamodule=source)
    model = mmfuse.load(run.checkpoint_callback.best_model_path)
    x, _ = rows_kept(model, source)
    torch.testing.assert_close(model.fusion.imputer.mean[:6], x[:, :6].mean(dim=0))


@pytest.mark.parametrize(("encoder", "times"), [("IdentityEncoder", 1), ("MLPEncoder", 3)])
def test_rows_are_shown_again_only_where_encoders_learn(encoder, times, tmp_path, monkeypatch):
    count = []
    fit = MeanImputer.fit
    monkeypatch.setattr(MeanImputer, "fit", lambda *given: (count.append(1), fit(*given)))
    trainer(tmp_path, epochs=2).fit(task(MeanImputer(), encoder), datamodule=data())
    assert len(count) == times  # at the start, and after each epoch


def test_a_run_that_goes_on_is_the_run_that_was_not_cut(tmp_path):
    def run(folder, epochs, **options):
        torch.manual_seed(0)
        made = trainer(folder, epochs)
        made.fit(task(PrototypeImputer(3)), datamodule=data(), **options)
        return made

    whole = run(tmp_path / "whole", 4)
    cut = run(tmp_path / "cut", 2)
    path = cut.checkpoint_callback.last_model_path
    resumed = run(tmp_path / "on", 4, ckpt_path=path)
    for (name, one), other in zip(
        whole.lightning_module.state_dict().items(),
        resumed.lightning_module.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(one, other), name


def test_a_stage_starts_from_the_last_one_with_its_encoders_frozen(tmp_path):
    first, source = trainer(tmp_path / "one"), data()
    first.fit(task(CascadeImputer((8, 4), 2)), datamodule=source)
    path = first.checkpoint_callback.best_model_path
    objective = ImputationLoss(targets="start", cycle=1.0)
    second, rows = task(CascadeImputer((8, 4), 2), objectives=[objective]), data()
    second.start_from(path, rows)
    teacher = mmfuse.load(path)
    trainer(tmp_path / "two").fit(second, datamodule=rows)
    kept = dict(objective.aims.start.encoders.named_parameters())
    for name, value in teacher.encoders.named_parameters():
        assert torch.equal(kept[name], value)
    moved = dict(second.model.encoders.named_parameters())
    assert any(not torch.equal(moved[n], v) for n, v in teacher.encoders.named_parameters())


def test_what_the_cascade_imagines_gets_nearer_to_what_was_hidden(tmp_path):
    torch.manual_seed(0)
    source = data()
    objective = ImputationLoss(weight=3.0)
    imputer = CascadeImputer((16, 8), 2)
    quick = lambda p: torch.optim.Adam(p, lr=1e-2)  # noqa: E731
    made = task(imputer, "IdentityEncoder", [objective], optimizer=quick)
    before, run = [], trainer(tmp_path, epochs=40, enable_checkpointing=False)

    def error():
        batch = next(iter(source.loader("val")))
        with torch.no_grad(), made.model.evaluating():
            objective.eval()
            return sum(objective(made.model, batch, made.model.encode(batch), None).values()).item()

    class Before(mmfuse.callbacks.Callback):
        def on_train_start(self, *_):
            before.append(error())

    run.callbacks.append(Before())
    run.fit(made, datamodule=source)
    assert error() < 0.6 * before[0]


@pytest.mark.parametrize(
    ("imputer", "objectives"),
    [
        ("KNNImputer", []),
        (
            {"class_path": "CascadeImputer", "init_args": {"hidden": [8, 4]}},
            [{"class_path": "ImputationLoss", "init_args": {"cycle": 1.0}}],
        ),
    ],
)
def test_a_configuration_names_the_imputer(imputer, objectives, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {
        "model": {
            "fusion": {
                "class_path": "ImputedFusion",
                "init_args": {
                    "fusion": "GatedFusion",
                    "options": {"out_dim": 8},
                    "imputer": imputer,
                },
            },
            "objectives": objectives,
            "modality_dropout": 0.3,
        },
        "data": {"class_path": "CatalogueData", "init_args": {"name": "digits_quadrants"}},
        "trainer": {"max_epochs": 1, "enable_progress_bar": False},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", "c.yaml"]) == 0
    (path,) = tmp_path.rglob("best.ckpt")
    model = mmfuse.load(path)
    assert model.fusion.fusion.out_dim == 8
    found = type(model.fusion.imputer).__name__
    assert found == (imputer if isinstance(imputer, str) else imputer["class_path"])
    assert main(["test", "--config", "c.yaml", "--ckpt_path", str(path)]) == 0


def test_a_mistyped_imputer_is_told_with_the_nearest_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--model.fusion=ImputedFusion", "--model.fusion.imputer=KNImputer"]
    words += ["--data=CatalogueData", "--data.name=digits_quadrants"]
    assert main(["fit", *words]) == 2
    assert "Did you mean 'KNNImputer'" in capsys.readouterr().err


def test_a_model_without_such_an_imputer_is_refused_and_left_alone():
    spec = DataSpec({"a": ModalitySpec.of(2)})
    model = FusionModel(spec, {"a": IdentityEncoder(2)}, ConcatFusion({"a": 2}))
    with pytest.raises(ConfigError, match="ConcatFusion, has no imputer"):
        fit_imputer(model, [])
    other = SupervisedTask()
    other.model = model
    ImputerFit().on_fit_start(None, other)
