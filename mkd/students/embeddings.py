"""Word embeddings that start from another model's table, at any width."""

import torch


def project(table_VD: torch.Tensor, width: int) -> torch.Tensor:
    """The table in its `width` main directions [V, width]: the best linear approximation of that rank (PCA).

    Scaled so that an entry's standard deviation is 1 / sqrt(width) * the mean norm a row had, that is: rows keep
    their mean length. Raises ValueError where width exceeds the table's.
    """
    if width > table_VD.shape[1]:
        raise ValueError(
            f"student.embedding is {width}; allowed: at most {table_VD.shape[1]}, the width of the table it is taken from"
        )
    centred = table_VD.float() - table_VD.float().mean(0)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    projected: torch.Tensor = centred @ vectors.flip(1)[:, :width]
    scale: torch.Tensor = centred.norm(dim=1).mean() / projected.norm(dim=1).mean()
    return projected * scale
