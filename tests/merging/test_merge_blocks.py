"""Blocks that were trained alone become one model."""

import copy

import numpy as np
import pytest
import torch

import mmfuse
from mmfuse import ArrayData, Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.fusion import LegoMergeFusion, LegoStackFusion, LegoWeaveFusion, SumFusion
from mmfuse.merging import merge_blocks, start_alike
from mmfuse.merging.sphere import MEANS
from mmfuse.testing.values import stirred
from mmfuse_encoders import LinearEncoder

SIZE = {"out_dim": 6, "latents": 4, "heads": 2, "head_dim": 3, "hidden": 8}
WIDTHS = {"a": 3, "b": 4, "c": 2}
TARGETS = {"y": TargetSpec("multiclass", ("u", "v", "w")), "z": TargetSpec("binary", ("n", "y"))}


def block(name, targets=TARGETS, fusion=LegoMergeFusion, **options):
    """A model of one modality with drawn weights, as training might leave it."""
    spec = DataSpec({name: ModalitySpec.of(WIDTHS[name])}, targets)
    encoder = LinearEncoder(WIDTHS[name], out_dim=5)
    return stirred(FusionModel(spec, {name: encoder}, fusion({name: 5}, **(SIZE | options))))


@pytest.fixture
def blocks():
    torch.manual_seed(0)
    return [block(m) for m in WIDTHS]


def batch_of(names="abc", rows=6):
    inputs = {
        m: torch.randn(rows, WIDTHS[m], generator=torch.Generator().manual_seed(WIDTHS[m]))
        for m in names
    }
    return Batch(tuple(names), inputs, torch.ones(rows, len(names)).bool())


def only(batch, name):
    place = batch.modalities.index(name)
    keep = torch.zeros_like(batch.present)
    keep[:, place] = True
    return batch.keep(keep)


@pytest.mark.parametrize("fusion", [LegoMergeFusion, LegoStackFusion, LegoWeaveFusion])
def test_one_block_alone_stays_what_it_is(fusion, blocks):
    model = merge_blocks(blocks[:1], fusion)
    expected = blocks[0](batch_of("a")).logits
    for name, found in model(batch_of("a")).logits.items():
        torch.testing.assert_close(found, expected[name])


def test_where_one_modality_is_present_the_latents_are_its_blocks(blocks):
    model = merge_blocks(blocks)
    for name, one in zip(WIDTHS, blocks, strict=True):
        merged, own = model.fusion.norm, one.fusion.norm
        together = model(only(batch_of(), name)).fused.vector
        alone = one(batch_of(name)).fused.vector
        # All but the norm, which is merged.
        bare = [(v - n.bias) / n.weight for v, n in ((together, merged), (alone, own))]
        torch.testing.assert_close(bare[0], bare[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("heads", MEANS)
def test_heads_and_norm_are_means_of_the_blocks(heads, blocks):
    weights = {"a": 1.0, "b": 2.0, "c": 5.0}
    model = merge_blocks(blocks, heads=heads, weights=weights)
    for name in ("y", "z"):
        for part in ("weight", "bias"):
            own = [getattr(b.heads[name], part) for b in blocks]
            expected = MEANS[heads](own, [0.125, 0.25, 0.625])
            torch.testing.assert_close(getattr(model.heads[name], part), expected)
    expected = MEANS[heads]([b.fusion.norm.weight for b in blocks], [0.125, 0.25, 0.625])
    torch.testing.assert_close(model.fusion.norm.weight, expected)
    torch.testing.assert_close(model.fusion.share, torch.tensor([1.0, 2.0, 5.0]))


def test_the_order_of_blocks_means_nothing_with_a_mean_that_has_none(blocks):
    one = merge_blocks(blocks, heads="karcher")
    other = merge_blocks(blocks[::-1], heads="karcher")
    for name, found in one(batch_of()).logits.items():
        torch.testing.assert_close(other(batch_of()).logits[name], found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fusion", ["LegoStackFusion", "LegoWeaveFusion"])
def test_what_is_to_be_tuned_starts_at_the_first_blocks_latent(fusion, blocks):
    model = merge_blocks(blocks, fusion)
    torch.testing.assert_close(model.fusion.latent, blocks[0].fusion.latent)
    for name, one in zip(WIDTHS, blocks, strict=True):
        own = one.fusion.blocks[name].state_dict()
        for key, value in model.fusion.blocks[name].state_dict().items():
            assert torch.equal(value, own[key])


def test_nothing_is_shared_with_the_blocks(blocks):
    before = [copy.deepcopy(b.state_dict()) for b in blocks]
    model = merge_blocks(blocks, "LegoStackFusion").train()
    sum(x.square().sum() for x in model(batch_of()).logits.values()).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= parameter.grad
    for one, state in zip(blocks, before, strict=True):
        assert all(torch.equal(v, state[k]) for k, v in one.state_dict().items())
        assert all(p.grad is None for p in one.parameters())


def test_paths_are_read_and_the_merged_model_is_saved_like_any_other(blocks, tmp_path):
    paths = [mmfuse.save(b, tmp_path / f"{m}.ckpt") for m, b in zip(WIDTHS, blocks, strict=True)]
    rule = {"class_path": "LegoMergeFusion", "init_args": {"rule": "mean"}}
    model = merge_blocks(paths, rule, weights={"a": 1, "b": 2, "c": 1})
    again = mmfuse.load(mmfuse.save(model, tmp_path / "merged.ckpt"))
    for name, found in again(batch_of()).logits.items():
        torch.testing.assert_close(found, model(batch_of()).logits[name])
    assert again.fusion.rule == "mean"


def test_blocks_of_real_runs_merge_and_are_tuned_on_from_the_saved_file(tmp_path):
    draw = np.random.default_rng(0)
    label = np.arange(240) % 3
    inputs = {m: draw.normal(label[:, None], 1, (240, w)) for m, w in WIDTHS.items()}
    encoders = {m: {"class_path": "MLPEncoder", "init_args": {"out_dim": 5}} for m in WIDTHS}
    paths = []
    for m in WIDTHS:
        torch.manual_seed(0)
        trainer = quiet(tmp_path / m, epochs=8)
        task = mmfuse.SupervisedTask({m: encoders[m]}, described("LegoMergeFusion"))
        trainer.fit(task, datamodule=ArrayData(inputs, label, only=[m]))
        paths.append(trainer.checkpoint_callback.best_model_path)
    model = merge_blocks(paths, "LegoStackFusion")
    saved = mmfuse.save(model, tmp_path / "stacked.ckpt")

    data = ArrayData(inputs, label)
    task = mmfuse.SupervisedTask(encoders, described("LegoStackFusion"))
    task.start_from(saved, data)
    for name, value in task.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
    trainer = quiet(tmp_path / "tuned", epochs=3)
    trainer.fit(task, datamodule=data)
    (scores,) = trainer.test(task, datamodule=data, ckpt_path="best", verbose=False)
    assert scores["test/accuracy"] > 0.6


def test_blocks_that_start_alike_differ_in_their_encoders_alone(blocks):
    encoders = [copy.deepcopy(b.encoders.state_dict()) for b in blocks]
    start_alike(blocks)
    first = blocks[0]
    for name, one, own in zip(WIDTHS, blocks, encoders, strict=True):
        assert all(torch.equal(v, own[k]) for k, v in one.encoders.state_dict().items())
        assert torch.equal(one.fusion.latent, first.fusion.latent)
        assert torch.equal(one.heads["y"].weight, first.heads["y"].weight)
        given = first.fusion.blocks["a"].state_dict()
        for key, value in one.fusion.blocks[name].state_dict().items():
            assert torch.equal(value, given[key])


def described(fusion):
    return {"class_path": fusion, "init_args": SIZE}


def quiet(folder, epochs):
    options = {"enable_progress_bar": False, "logger": False}
    return mmfuse.Trainer(max_epochs=epochs, default_root_dir=str(folder), **options)


@pytest.mark.parametrize(
    ("make", "options", "error", "words"),
    [
        (list, {}, ConfigError, "no block to merge"),
        (lambda: [block("a"), block("a")], {}, ConfigError, "Two blocks read 'a'"),
        (lambda: [block("a"), block("b", latents=5)], {}, ConfigError, "differ in size"),
        (
            lambda: [block("a"), block("b", {"y": TargetSpec("binary")})],
            {},
            ConfigError,
            "predict different things",
        ),
        (lambda: [block("a")], {"heads": "median"}, ConfigError, "heads is 'median'"),
        (lambda: [block("a")], {"fusion": "SumFusion"}, ConfigError, "cannot become a SumFusion"),
        (lambda: [block("a")], {"weights": {"b": 1.0}}, UnknownModalityError, r"for \['b'\]"),
        (lambda: [block("a")], {"weights": {"a": 0.0}}, ConfigError, "numbers above 0"),
        (
            lambda: [
                FusionModel(
                    DataSpec({"a": ModalitySpec.of(3)}, TARGETS),
                    {"a": LinearEncoder(3, out_dim=5)},
                    SumFusion({"a": 5}),
                )
            ],
            {},
            ConfigError,
            "with SumFusion is no single Lego block",
        ),
    ],
)
def test_what_cannot_be_merged_is_refused(make, options, error, words):
    with pytest.raises(error, match=words):
        merge_blocks(make(), **options)


def test_statistics_of_targets_may_differ_between_blocks():
    targets = [{"y": TargetSpec("regression", mean=(m,), std=(2.0,))} for m in (1.0, 1.1)]
    model = merge_blocks([block("a", targets[0]), block("b", targets[1])])
    assert model.spec.targets == targets[0]
