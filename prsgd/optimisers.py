"""SGD over whole rows: one update for all the workers that a process hosts."""

from torch import Tensor, zeros_like

ALL = slice(None)


class SGD:
    """torch.optim.SGD's rule on (K, D) rows; with momentum, its moments `m` are rows as well.

    g <- g + weight_decay x;  m <- momentum m + g;  x <- x - lr (m, or g + momentum m by Nesterov).
    """

    def __init__(self, x: Tensor, momentum: float, nesterov: bool, weight_decay: float) -> None:
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.m = zeros_like(x) if momentum else None

    def descend(self, x: Tensor, g: Tensor, lr: float, rows: slice = ALL) -> None:
        """One step on these rows; `g` is used up."""
        x, g = x[rows], g[rows]
        if self.weight_decay:
            g.add_(x, alpha=self.weight_decay)
        if self.m is None:
            x.add_(g, alpha=-lr)
            return
        m = self.m[rows].mul_(self.momentum).add_(g)
        x.add_(g.add_(m, alpha=self.momentum) if self.nesterov else m, alpha=-lr)
