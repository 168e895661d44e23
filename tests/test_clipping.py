import pytest
import torch

import mcu_lite as mcu
from mcu_lite.clipping import Watched, clipped_share


def test_the_run_is_the_one_of_unlearn(theta, task):
    table, rows = clipped_share(theta, task, "delete")
    torch.testing.assert_close(rows, mcu.unlearn(theta, task, "delete", order=2).rows)
    assert len(table) == mcu.METHODS["delete"].steps * len(task)
    assert set(table.seed) == set(task.seeds) and table.share.between(0, 1).all()


def test_the_share_is_counted_by_hand():
    p = torch.zeros(2, 5, requires_grad=True)
    sophia = Watched([p], lr=0.5, rho=1.0, weight_decay=0.0)
    # After one observation h is 0.05 times the estimate, and m 0.1 times the gradient.
    sophia.observe([torch.tensor([[20.0, 20.0, 20.0, 20.0, 0.0]] * 2)])
    p.grad = torch.tensor([[9.0, 11.0, -12.0, 0.0, 1e-6], [1.0, 1.0, 1.0, 0.0, 0.0]])
    sophia.step()
    assert [share.tolist() for share in sophia.clipped] == [[0.75, 0.0]]
    assert ((p.detach().abs() == 0.5).sum(1) == torch.tensor([3, 0])).all()
    sophia.step()
    assert len(sophia.clipped) == 2


@pytest.mark.parametrize("method", ["salun", "retrain"])
def test_other_methods_are_refused(theta, task, method):
    with pytest.raises(ValueError, match=method):
        clipped_share(theta, task, method)
