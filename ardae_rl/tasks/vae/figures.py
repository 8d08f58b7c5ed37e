"""Pictures of a variational autoencoder: Figure 5's histograms, reconstructions and samples."""

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

from ardae_rl.score.estimator import Normal
from ardae_rl.tasks.vae.data import Data
from ardae_rl.tasks.vae.model import VAE

POINTS, BINS = 20_000, 128
DATA_RANGE, LATENT_RANGE = (-6.0, 6.0), (-4.0, 4.0)
COLUMNS, ROWS = 10, 10


def planes(vae: VAE, data: Data, normal: Normal) -> dict[str, Figure]:
    """Histograms of the data, of reconstructions, of what the model generates and of the aggregate posterior."""
    x = data.test[:POINTS]
    z = vae.posterior.draw(x, normal(len(x), 1, vae.posterior.noise_dim)).squeeze(1)
    prior = normal(len(x), vae.posterior.dim)
    panels = {
        "data": (x, DATA_RANGE),
        "reconstructions": (vae.decoder.sample(z, normal(*x.shape)), DATA_RANGE),
        "generated": (vae.decoder.sample(prior, normal(*x.shape)), DATA_RANGE),
        "aggregate posterior": (z, LATENT_RANGE),
    }
    figure = Figure(figsize=(3 * len(panels), 3.2), layout="constrained")
    for axes, (title, (points, limits)) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        axes.hist2d(*points.cpu().numpy().T, bins=BINS, range=(limits, limits), cmap="magma")
        axes.set(title=title, aspect="equal", xticks=[], yticks=[])
    return {"planes": figure}


def pictures(vae: VAE, data: Data, normal: Normal) -> dict[str, Figure]:
    """Means of what the model generates, and test images above their reconstructions' means, row by row."""
    x = data.test[: COLUMNS * ROWS // 2]
    z = vae.posterior.draw(x, normal(len(x), 1, vae.posterior.noise_dim)).squeeze(1)
    pairs = torch.stack([rows for pair in zip(x.split(COLUMNS), vae.decoder.mean(z).split(COLUMNS), strict=True) for rows in pair])
    samples = vae.decoder.mean(normal(COLUMNS * ROWS, vae.posterior.dim))
    assert data.side is not None
    return {"reconstructions": _grid(pairs.flatten(0, 1), data.side), "samples": _grid(samples, data.side)}


def _grid(images: Tensor, side: int) -> Figure:
    """Images (N, side^2) with values in [0, 1], COLUMNS in a row, a grey line after each."""
    rows, cell = len(images) // COLUMNS, side + 1
    framed = functional.pad(images.cpu().view(-1, side, side), (0, 1, 0, 1), value=0.5)
    tiles = framed.view(rows, COLUMNS, cell, cell).transpose(1, 2).reshape(rows * cell, COLUMNS * cell)
    figure = Figure(figsize=(5, 5 * rows / COLUMNS), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(tiles.numpy(), cmap="gray", vmin=0, vmax=1)
    axes.set_axis_off()
    return figure
