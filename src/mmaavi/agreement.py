"""Modalities of one cell should tell the same: a contrastive term (InfoNCE, van den Oord et al. 2018)."""

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.2


def info_nce(a: Tensor, b: Tensor, batch: Tensor) -> Tensor:
    """Cross-entropy of finding a cell's state from one modality among those of its batch from another; both ways.

    Parameters
    ----------
    a, b
        States of the same cells from one modality each, of shape (n, d); compared by their cosine.
    batch
        Number of each cell's batch, of shape (n,): only cells of one batch are told apart, so that nothing is gained by
        encoding the batch.
    """
    similarity = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / TEMPERATURE  # (n, n)
    similarity = similarity.masked_fill(batch[:, None] != batch, -torch.inf)  # (n, n)
    own = torch.arange(len(a), device=a.device)
    return 0.5 * (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own))
