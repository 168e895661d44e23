"""Planes and maps against what the definitions say, point by point."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import mcu_lite as mcu
from mcu_lite.metrics import plane_evaluation
from mcu_lite.paths import planes


@pytest.fixture(scope="module")
def plane(path):
    return planes.plane(path.control[0], path.control[2], path.control[1])


@pytest.fixture(scope="module")
def trained(task):
    return replace(task, test=task.test[:, :1])


@pytest.fixture(scope="module")
def table(plane, trained, theta):
    return plane_evaluation.evaluate_plane(plane, planes.grid(plane, 4), trained, theta)


def test_the_axes_are_orthonormal_and_the_corners_lie_where_their_models_are(plane, path):
    gram = torch.einsum("kbp,lbp->bkl", plane.basis, plane.basis)
    torch.testing.assert_close(gram, torch.eye(2).double().expand(2, -1, -1))
    for corner, row in zip(plane.corners, path.control[[0, 2, 1]]):
        torch.testing.assert_close(plane.coordinates(row), corner, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(plane.rows(corner), row, atol=1e-5, rtol=1e-5)
    apart = (path.control[2] - path.control[0]).double().norm(dim=-1)
    torch.testing.assert_close(plane.chord, apart)
    assert (plane.corners[2, :, 1] > 0).all() and (plane.corners[:2, :, 1] == 0).all()


def test_a_plane_turned_at_random_keeps_two_models_and_the_height_of_the_third(plane, path):
    turned = planes.at_random(plane)
    gram = torch.einsum("kbp,lbp->bkl", turned.basis, turned.basis)
    torch.testing.assert_close(gram, torch.eye(2).double().expand(2, -1, -1))
    for row in path.control[[0, 2]]:
        assert (turned.distance(row) < 1e-5 * plane.chord).all()
    assert ((turned.basis[1] * plane.basis[1]).sum(-1).abs() < 0.1).all()
    torch.testing.assert_close(turned.corners, plane.corners)
    assert not torch.equal(planes.at_random(plane, seed=1).basis, turned.basis)


def test_a_quadratic_curve_lies_in_the_plane_of_its_control_points(plane, path):
    rows = path.rows(torch.linspace(0, 1, 9))
    assert (plane.distance(rows) < 1e-5 * plane.chord).all()
    torch.testing.assert_close(plane.rows(plane.coordinates(rows)), rows, atol=1e-5, rtol=1e-5)


def test_the_nearest_point_is_that_of_least_squares():
    rng = torch.Generator().manual_seed(0)
    a, b, c, x = torch.randn(4, 3, 7, generator=rng, dtype=torch.float64)
    own = planes.plane(a, b, c)
    for s in range(3):
        span = np.stack([(b - a)[s], (c - a)[s]], axis=1)
        share, *_ = np.linalg.lstsq(span, (x - a)[s].numpy(), rcond=None)
        nearest = a[s].numpy() + span @ share
        torch.testing.assert_close(
            own.rows(own.coordinates(x))[s], torch.tensor(nearest).float(), atol=1e-5, rtol=1e-5
        )
        off = np.linalg.norm(x[s].numpy() - nearest)
        assert own.distance(x)[s].item() == pytest.approx(off)


def test_models_on_a_line_span_no_plane(path):
    a, b = path.control[0], path.control[2]
    with pytest.raises(ValueError, match=r"one line.*\[0, 1\]"):
        planes.plane(a, b, 0.25 * a + 0.75 * b)
    with pytest.raises(ValueError, match="one line"):
        planes.plane(a, a, b)
    with pytest.raises(ValueError, match="one shape"):
        planes.plane(a, b, b[:1])


def test_the_grid_is_even_and_the_same_for_all_seeds_in_chords(plane):
    cells = planes.grid(plane, 5, margin=(0.5, 0.0)) / plane.chord.unsqueeze(-1)
    assert cells.shape == (5, 5, 2, 2)
    torch.testing.assert_close(cells[:, :, 0], cells[:, :, 1])
    corners = plane.corners / plane.chord.unsqueeze(-1)
    low, high = corners.amin((0, 1)), corners.amax((0, 1))
    width = (high - low)[0]
    x, y = cells[0, :, 0, 0], cells[:, 0, 0, 1]
    torch.testing.assert_close(x[[0, -1]], torch.stack([low[0] - width / 2, high[0] + width / 2]))
    torch.testing.assert_close(y[[0, -1]], torch.stack([low[1], high[1]]))
    torch.testing.assert_close(x.diff(), x.diff().mean().expand(4))
    with pytest.raises(ValueError, match="points"):
        planes.grid(plane, 1)


def test_a_plane_is_measured_point_by_point_as_a_loop_does(plane, table, trained, path):
    points = planes.grid(plane, 4).reshape(-1, 2, 2)
    for seed, point in ((0, 0), (1, 7), (0, 15)):
        model = path.architecture.module_at(plane.rows(points[point])[seed])
        for split in ("retain", "forget"):
            inputs, labels = (part[seed] for part in trained.split(split))
            with torch.no_grad():
                logits = model(inputs)
            expected = {
                "loss": torch.nn.functional.cross_entropy(logits, labels).item(),
                "accuracy": (logits.argmax(-1) == labels).float().mean().item(),
            }
            for metric, value in expected.items():
                own = table.query(
                    "seed == @seed and point == @point and split == @split and metric == @metric"
                )
                assert own.value.item() == pytest.approx(value, rel=1e-4)
                where = points[point, seed] / plane.chord[seed]
                assert (own.x.item(), own.y.item()) == pytest.approx(tuple(where.tolist()))


@pytest.mark.parametrize("at_once", [1, 5, 16])
def test_chunks_make_no_difference(plane, table, trained, theta, monkeypatch, at_once):
    monkeypatch.setattr(plane_evaluation, "AT_ONCE", at_once)
    again = plane_evaluation.evaluate_plane(plane, planes.grid(plane, 4), trained, theta)
    keys = ["seed", "split", "metric", "point"]
    one, other = (t.sort_values(keys).reset_index(drop=True) for t in (table, again))
    pd.testing.assert_frame_equal(one, other, rtol=1e-4)


def test_a_plane_refuses_another_number_of_seeds(plane, task, theta):
    one = mcu.load_task("digits", seeds=1)
    with pytest.raises(ValueError, match="2 seeds but task has 1"):
        plane_evaluation.evaluate_plane(plane, planes.grid(plane, 2), one, theta)


def test_a_field_has_y_first(table):
    field = plane_evaluation.plane_values(table, "loss", "retain", 1)
    own = table.query("seed == 1 and metric == 'loss' and split == 'retain'")
    for y, line in zip(sorted(own.y.unique()), field):
        for x, value in zip(sorted(own.x.unique()), line):
            assert own[(own.x == x) & (own.y == y)].value.item() == value
    with pytest.raises(ValueError, match="square grid"):
        plane_evaluation.plane_values(table[table.point < 15], "loss", "retain", 1)


def test_both_inequalities_are_those_of_the_definition(table):
    losses = table[table.metric == "loss"].set_index(["split", "seed", "point"]).value
    usual = losses.groupby(["split", "seed"]).median()
    slope = {"retain": 0.02, "forget": -0.1}
    keys = [(split, seed, t) for split in slope for seed in (0, 1) for t in (0.0, 1.0)]
    ends = pd.DataFrame(keys, columns=["split", "seed", "t"]).assign(metric="loss")
    ends["value"] = [usual[split, seed] + t * slope[split] for split, seed, t in keys]
    judged = plane_evaluation.connected_points(table, ends, tolerance=0.005)
    assert {True, False} == set(judged.retain) == set(judged.forget) and len(judged) == 32
    for own in judged.itertuples():
        t = min(max(own.x, 0.0), 1.0)
        line = {split: usual[split, own.seed] + t * slope[split] for split in slope}
        retain = losses["retain", own.seed, own.point] <= line["retain"] + 0.005
        forget = losses["forget", own.seed, own.point] >= line["forget"] - 0.005
        assert (own.retain, own.forget, own.both) == (retain, forget, retain and forget)
    with pytest.raises(ValueError, match="tolerance"):
        plane_evaluation.connected_points(table, ends, -1.0)


# The map


def test_the_map_draws_paths_and_corners_where_they_are(table, plane, path, theta, task):
    line = mcu.connect(*(path.stack_at(t) for t in (0.0, 1.0)), curve="linear")
    ax = mcu.plot_map(table, plane, {"line": line, "curve": path}, ("a", "b", "c"), row=1)
    first, second, *corners = ax.get_lines()
    at = plane.coordinates(path.rows(np.linspace(0, 1, 61)))[:, 1].numpy()
    np.testing.assert_allclose(np.column_stack(second.get_data()), at)
    np.testing.assert_allclose(first.get_ydata(), 0, atol=1e-5)
    drawn = [np.column_stack(corner.get_data())[0] for corner in corners]
    np.testing.assert_allclose(drawn, plane.corners[:, 1].numpy())
    words = ax.get_label()
    field = plane_evaluation.plane_values(table, "loss", "retain", 1)
    assert f"between {field.min():.2g} and {field.max():.2g} nats" in words
    assert "of seed 1" in words and words.count(" at t=1") == 2 and "off the plane" not in words


def test_a_path_off_the_plane_is_told(table, plane, path, theta):
    away = mcu.connect(path.stack_at(0.0), theta, curve="linear")
    ax = mcu.plot_map(table, plane, {"to the original": away}, ("a", "b", "c"))
    off = plane.distance(away.rows([0.0, 1.0]))[:, 0].max().item()
    assert f"up to {off:.2f} off the plane" in ax.get_label()


def test_a_map_takes_three_paths_at_most(table, plane, path):
    with pytest.raises(ValueError, match="at most 3 paths"):
        mcu.plot_map(table, plane, dict.fromkeys("abcd", path), ("a", "b", "c"))
    with pytest.raises(ValueError, match="3 names"):
        mcu.plot_map(table, plane, {"a": path}, ("a", "b"))


def test_the_map_is_of_one_of_the_seeds(table, plane, path):
    for row in (9, -1):
        with pytest.raises(ValueError, match=f"row must be in 0..1, got {row}"):
            mcu.plot_map(table, plane, {"curve": path}, ["a", "b", "c"], row=row)
    with pytest.raises(ValueError, match="table is empty"):
        mcu.plot_map(table[:0], plane, {"curve": path}, ["a", "b", "c"])
