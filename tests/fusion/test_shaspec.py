import math

import pytest
import torch

from mmfuse.errors import ConfigError
from mmfuse.fusion import ShaSpecFusion


def features(fusion, row):
    """Shared and specific features of the modalities that a row has."""
    mapped = {m: fusion.project[m](x.mean(dim=0)) for m, x in row.items()}
    return (
        {m: fusion.shared(z) for m, z in mapped.items()},
        {m: fusion.specific[m](z) for m, z in mapped.items()},
    )


def test_shared_and_specific_compose_and_the_shared_mean_stands_in(sample, agrees):
    fusion = ShaSpecFusion(sample.dims, out_dim=6, hidden=7)

    def equation(row):
        shared, specific = features(fusion, row)
        parts = []
        for m in sample.dims:
            if m in row:
                both = torch.cat([shared[m], specific[m]])
                parts.append(shared[m] + fusion.compose.weight @ both + fusion.compose.bias)
            else:
                parts.append(sum(shared.values()) / len(shared))
        return fusion.mix(torch.cat(parts))

    agrees(fusion, equation)


@pytest.mark.parametrize("alignment", ["l1", "mse"])
def test_the_losses_count_what_is_present_alone(sample, shake, alignment):
    fusion = shake(
        ShaSpecFusion(
            sample.dims, 6, 7, alignment, alignment_weight=0.5, classification_weight=0.25
        )
    )
    losses = fusion(sample.tokens, sample.present).losses
    gaps, told = [], []
    for i in range(8):
        row = sample.row(i)
        shared, specific = features(fusion, row)
        names = list(row)
        for a in range(len(names)):
            for b in range(a + 1, len(names)):
                gap = shared[names[a]] - shared[names[b]]
                parts = [abs(float(g.detach())) for g in gap]
                gaps.append(sum(p if alignment == "l1" else p * p for p in parts) / 6)
        for m in names:
            scores = fusion.tell(specific[m]).tolist()
            place = list(sample.dims).index(m)
            told.append(math.log(sum(map(math.exp, scores))) - scores[place])
    assert losses["alignment"].item() == pytest.approx(0.5 * sum(gaps) / len(gaps))
    assert losses["classification"].item() == pytest.approx(0.25 * sum(told) / len(told))


def test_one_modality_has_nobody_to_agree_with(sample):
    fusion = ShaSpecFusion({"a": 5}, out_dim=6).double()
    losses = fusion({"a": sample.tokens["a"]}, sample.present[:, :1]).losses
    assert losses["alignment"] == 0
    assert losses["classification"] == 0


def test_without_its_factor_the_classifier_is_not_built():
    fusion = ShaSpecFusion({"a": 5, "b": 2}, classification_weight=0.0)
    assert not hasattr(fusion, "tell")


@pytest.mark.parametrize(
    "options",
    [{"alignment": "l2"}, {"alignment_weight": -0.1}, {"classification_weight": -1.0}],
)
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ConfigError, match="expected"):
        ShaSpecFusion({"a": 5}, **options)
