import pytest
import torch

import mcu_lite as mcu
from mcu_lite.training.optimizers import RHO, sophia
from mcu_lite.unlearning.unlearn import clipped_share, share_at_bound


def test_the_run_is_the_one_of_unlearn(theta, task):
    table, rows = clipped_share(theta, task, "delete")
    torch.testing.assert_close(rows, mcu.unlearn(theta, task, "delete", order=2).rows)
    assert len(table) == mcu.METHODS["delete"].steps * len(task)
    assert set(table.seed) == set(task.seeds) and table.share.between(0, 1).all()


def test_the_share_is_counted_by_hand():
    # A coordinate is clipped where |m| reaches ρh, of those that ever had a gradient.
    h = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]] * 2)
    m = RHO * torch.tensor([[0.9, 1.1, -1.2, 0.0, 1e-6], [0.1, 0.1, 0.1, 0.0, 0.0]])
    assert share_at_bound(m, h).tolist() == [0.75, 0.0]
    rows, seen = torch.zeros(2, 5, requires_grad=True), []

    def watch(m, h):
        seen.append(share_at_bound(m, h))

    update = sophia(rows, lambda rows: 20 * h, 0.0, watch)
    update(10 * m, 0.5)
    # After one observation h is 0.05 times the estimate, and m 0.1 times the gradient.
    assert [share.tolist() for share in seen] == [[0.75, 0.0]]
    assert ((rows.detach().abs() == 0.5).sum(1) == torch.tensor([3, 0])).all()
    update(10 * m, 0.5)
    assert len(seen) == 2


def test_a_method_that_retrains_is_refused(theta, task):
    with pytest.raises(ValueError, match="'retrain' retrains"):
        clipped_share(theta, task, "retrain")
