"""What every method owes to ragged tokens; the conformance kit covers single vectors."""

import inspect

import pytest
import torch
from torch import nn

from mmfuse.fusion import Fusion
from mmfuse.registry import known
from mmfuse.testing.values import stirred
from mmfuse.tokens import Tokens

METHODS = [cls for cls in known(Fusion).values() if cls.__module__.startswith("mmfuse.fusion.")]
methods = pytest.mark.parametrize("cls", METHODS, ids=lambda cls: cls.__name__)


@methods
def test_garbage_in_padding_and_absent_slots_reaches_no_gradient(cls, sample):
    torch.manual_seed(0)
    fusion = cls(sample.dims).double()
    stirred(fusion)  # a weight that starts at zero would hide what passes it
    for t in sample.tokens.values():
        t.values.requires_grad_()
    fused = fusion(sample.tokens, sample.present)
    fused.vector.square().sum().backward()
    assert fused.vector.isfinite().all()
    assert all(p.grad.isfinite().all() for p in fusion.parameters() if p.grad is not None)
    for (m, t), here in zip(sample.tokens.items(), sample.present.T, strict=True):
        real = t.mask & here[:, None]
        assert (t.values.grad[~real] == 0).all(), m
        assert t.values.grad[real].isfinite().all(), m
        assert t.values.grad[real].any(), m


@methods
def test_a_batch_of_rows_with_nothing_present_has_a_finite_gradient(cls, sample):
    fusion = cls(sample.dims).double()
    fusion({}, torch.zeros(4, 3, dtype=torch.bool)).vector.sum().backward()
    for name, p in fusion.named_parameters():
        if name == "prior":
            assert (p.grad == 4).all()
        else:
            assert p.grad is None or not p.grad.any(), name


@methods
def test_more_padding_changes_nothing(cls, sample):
    fusion = cls(sample.dims).double().eval()
    longer = {
        m: Tokens(nn.functional.pad(t.values, (0, 0, 0, 3)), nn.functional.pad(t.mask, (0, 3)))
        for m, t in sample.tokens.items()
    }
    torch.testing.assert_close(
        fusion(longer, sample.present).vector, fusion(sample.tokens, sample.present).vector
    )


@methods
def test_a_row_in_a_batch_gets_what_it_gets_alone(cls, sample):
    fusion = cls(sample.dims).double().eval()
    whole = fusion(sample.tokens, sample.present).vector
    for i in range(8):
        tokens = {m: Tokens.of(x.mean(dim=0)[None]) for m, x in sample.row(i).items()}
        if all(len(x) == 1 for x in sample.row(i).values()):
            alone = fusion(tokens, sample.present[i : i + 1]).vector
        else:
            one = sample.rows(torch.tensor([i]))
            alone = fusion(one.tokens, one.present).vector
        torch.testing.assert_close(alone[0], whole[i])


class Flat(nn.Module):
    """A fusion whose arguments are tensors, as exporting wants them."""

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, values, masks, present):
        tokens = {m: Tokens(values[m], masks[m]) for m in values}
        return self.fusion(tokens, present).vector


@methods
def test_a_method_exports_for_any_batch_size(cls, sample):
    small = {"out_dim": 8} if "out_dim" in inspect.signature(cls).parameters else {}
    model = Flat(cls(sample.dims, **small).double().eval())
    values = {m: t.values for m, t in sample.tokens.items()}
    masks = {m: t.mask for m, t in sample.tokens.items()}
    size = torch.export.Dim("batch", min=2)
    of_size = {m: {0: size} for m in values}
    exported = torch.export.export(
        model, (values, masks, sample.present), dynamic_shapes=(of_size, of_size, {0: size})
    ).module()
    some = torch.tensor([7, 0, 3])
    rows = sample.rows(some)
    found = exported(
        {m: t.values for m, t in rows.tokens.items()},
        {m: t.mask for m, t in rows.tokens.items()},
        rows.present,
    )
    expected = model(values, masks, sample.present)[some]
    torch.testing.assert_close(found, expected)
