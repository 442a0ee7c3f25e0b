"""Encoders for vectors."""

from __future__ import annotations

import torch

from mmfuse_encoders import MLPEncoder, ResidualMLPEncoder


def test_residual_mlp_follows_its_equation():
    encoder = ResidualMLPEncoder(3, out_dim=2, hidden=4, layers=2).double().eval()
    x = torch.randn(5, 3, dtype=torch.float64)

    def norm(layer, row):
        centred = row - row.mean()
        return centred / (centred.square().mean() + layer.eps).sqrt() * layer.weight + layer.bias

    def linear(layer, row):
        return layer.weight @ row + layer.bias

    for row, found in zip(x, encoder(x), strict=True):
        h = linear(encoder.stem, row)
        for block in encoder.blocks:
            inner = linear(block[1], norm(block[0], h)).clamp(min=0)
            h = h + linear(block[4], inner)
        expected = linear(encoder.readout[2], norm(encoder.readout[0], h).clamp(min=0))
        torch.testing.assert_close(found, expected)


def test_residual_mlp_trains_on_one_row(trains_on_one_row):
    trains_on_one_row(ResidualMLPEncoder(3, out_dim=4, hidden=8), torch.randn(1, 3))


def test_vector_encoders_learn_a_boundary_that_is_not_linear(learns):
    x = torch.randn(200, 2)
    labels = (x[:, 0] * x[:, 1] > 0).long()
    learns(ResidualMLPEncoder(2, out_dim=8, hidden=32), x, labels)
    learns(MLPEncoder(2, out_dim=8), x, labels, steps=150)
