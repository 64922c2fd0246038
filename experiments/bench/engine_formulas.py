"""What the engine is measured against: a plain torch loop, and formulas without a framework.

Each takes all rows, first parameters, who takes part in a round, step size and batch, and gives a
function that does one round of federated averaging with equal weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as loss_of
from torch.nn.functional import linear

from fl.arrays import Arrays
from fl.contracts import Examples

ROWS = 500
Flow = Callable[[Examples, Arrays, Callable[[int], list[int]], float, int], Callable[[], None]]


class Net(nn.Module):
    """A user's own module: linear, or one hidden layer, over numbers and embeddings."""

    def __init__(self, first: Arrays) -> None:
        super().__init__()
        names = [n for n in first if n.endswith("weight") and "embedding" not in n]
        shapes = [first[n].shape for n in names if "category" not in n]
        table = first.get("embedding.weight")
        self.table = nn.Embedding(*table.shape) if table is not None else None
        layers: list[nn.Module] = []
        for i, (outputs, inputs) in enumerate(shapes):
            layers += [nn.Linear(inputs, outputs), *([nn.ReLU()] if i + 1 < len(shapes) else [])]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Logits."""
        if self.table is not None and c.shape[1]:
            x = torch.cat([x, self.table(c).flatten(1)], 1)
        out: Tensor = self.layers(x)
        return out


def _placed(rows: Examples, first: Arrays) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers, codes in one table, labels; ``[brands, rows, ...]``."""
    columns, table = rows.c_bg.shape[1], first.get("embedding.weight")
    ids = len(table) // columns if columns and table is not None else 0
    c = rows.c_bg + torch.arange(columns) * ids
    return (
        rows.x_bf.view(len(rows) // ROWS, ROWS, rows.x_bf.shape[1]),
        c.view(len(rows) // ROWS, ROWS, columns),
        rows.y_b.view(len(rows) // ROWS, ROWS, 1),
    )


def _dense(first: Arrays) -> list[Tensor]:
    names = [n for n in first if "embedding" not in n and "category" not in n]
    return [torch.from_numpy(first[n].copy()) for n in names]


def torch_loop(rows: Examples, first: Arrays, chosen: Any, rate: float, batch: int) -> Any:
    """One model reused in place, autograd, ``torch.optim.SGD``."""
    x, c, y = _placed(rows, first)
    net = Net(first)
    params = list(net.parameters())
    table = [torch.from_numpy(first["embedding.weight"].copy())] if net.table is not None else []
    state: dict[str, Any] = {"w": [*table, *_dense(first)], "number": 0}

    def turn() -> None:
        total = [torch.zeros_like(w) for w in state["w"]]
        cohort = chosen(state["number"])
        for k in cohort:
            with torch.no_grad():
                for p, w in zip(params, state["w"], strict=True):
                    p.copy_(w)
            sgd = torch.optim.SGD(params, lr=rate)
            for s in range(0, ROWS, batch):
                part = slice(s, s + batch)
                sgd.zero_grad()
                loss_of(net(x[k, part], c[k, part]), y[k, part]).backward()  # type: ignore[no-untyped-call]
                sgd.step()
            with torch.no_grad():
                for t, p in zip(total, params, strict=True):
                    t.add_(p)
        state["w"] = [t / len(cohort) for t in total]
        state["number"] += 1

    return turn


def stacked(rows: Examples, first: Arrays, chosen: Any, rate: float, batch: int) -> Any:
    """The cohort's models in one batch dimension, gradients by hand, steps in place."""
    x, _, y = _placed(rows, first)
    state: dict[str, Any] = {"w": _dense(first), "number": 0}

    @torch.no_grad()
    def turn() -> None:
        cohort = chosen(state["number"])
        whole = len(cohort) == len(x)
        xs, ys = (x, y) if whole else (x[cohort], y[cohort])
        ps = [w.expand(len(cohort), *w.shape).contiguous() for w in state["w"]]
        for s in range(0, ROWS, batch):
            xb, yb = xs[:, s : s + batch], ys[:, s : s + batch]
            step = -rate / xb.shape[1]
            if len(ps) == 2:
                r = torch.baddbmm(ps[1].unsqueeze(1), xb, ps[0].transpose(1, 2))
                r.sigmoid_().sub_(yb)
                ps[0].baddbmm_(r.transpose(1, 2), xb, alpha=step)
                ps[1].add_(r.sum(1), alpha=step)
                continue
            h = torch.baddbmm(ps[1].unsqueeze(1), xb, ps[0].transpose(1, 2)).relu_()
            r = torch.baddbmm(ps[3].unsqueeze(1), h, ps[2].transpose(1, 2)).sigmoid_().sub_(yb)
            d = torch.bmm(r, ps[2]).mul_(h > 0)
            ps[2].baddbmm_(r.transpose(1, 2), h, alpha=step)
            ps[3].add_(r.sum(1), alpha=step)
            ps[0].baddbmm_(d.transpose(1, 2), xb, alpha=step)
            ps[1].add_(d.sum(1), alpha=step)
        state["w"] = [p.mean(0) for p in ps]
        state["number"] += 1

    return turn


def embedded(rows: Examples, first: Arrays, chosen: Any, rate: float, batch: int) -> Any:
    """Brand by brand, only the rows of the table that a brand reads are copied and averaged."""
    x, c, y = _placed(rows, first)
    own = [torch.unique(c[k], return_inverse=True) for k in range(len(c))]
    table = torch.from_numpy(first["embedding.weight"].copy())
    numbers, width = x.shape[2], table.shape[1]
    state: dict[str, Any] = {"w": _dense(first), "number": 0}

    @torch.no_grad()
    def turn() -> None:
        cohort = chosen(state["number"])
        total = [torch.zeros_like(w) for w in state["w"]]
        seen, moved = [], []
        for k in cohort:
            ids, code = own[k]
            start = table.index_select(0, ids)
            e = start.clone()
            w1, b1, w2, b2 = [w.clone() for w in state["w"]]
            for s in range(0, ROWS, batch):
                i, n, yb = code[s : s + batch], x[k, s : s + batch], y[k, s : s + batch]
                step = -rate / len(yb)
                a = torch.cat([n, e[i].view(len(yb), -1)], 1)
                h = linear(a, w1, b1).relu_()
                r = linear(h, w2, b2).sigmoid_().sub_(yb)
                d = (r * w2).mul_(h > 0)
                da = d @ w1[:, numbers:]
                w2.addmm_(r.t(), h, alpha=step)
                b2.add_(r.sum(0), alpha=step)
                w1.addmm_(d.t(), a, alpha=step)
                b1.add_(d.sum(0), alpha=step)
                e.index_add_(0, i.reshape(-1), da.reshape(-1, width), alpha=step)
            seen.append(ids)
            moved.append(e - start)
            for t, w in zip(total, (w1, b1, w2, b2), strict=True):
                t.add_(w, alpha=1 / len(cohort))
        table.index_add_(0, torch.cat(seen), torch.cat(moved), alpha=1 / len(cohort))
        state["w"] = total
        state["number"] += 1

    return turn
