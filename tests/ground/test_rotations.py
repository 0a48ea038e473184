import numpy as np

from csrd.rotations import rigid, rotation, rotation_about

X, Y, Z = np.eye(3)


def test_turns_are_right_handed_and_about_x_first():
    quarter = np.pi / 2
    assert np.allclose(rotation([quarter, 0, 0]) @ Y, Z)
    assert np.allclose(rotation([0, quarter, 0]) @ Z, X)
    assert np.allclose(rotation([0, 0, quarter]) @ X, Y)
    assert np.allclose(rotation([quarter, 0, quarter]) @ Z, X), "x leads z to -y, then z leads -y to x"


def test_a_turn_keeps_lengths_and_hands():
    for turn in (rotation([0.3, -0.4, 0.5]), rotation_about(np.array((2, -1, 2)) / 3, 0.7)):
        assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) > 0


def test_a_turn_about_an_axis_keeps_the_axis_and_has_its_angle():
    axis = np.array((2, -1, 2)) / 3
    turn = rotation_about(axis, 0.7)
    assert np.allclose(turn @ axis, axis)
    assert np.isclose(np.trace(turn), 1 + 2 * np.cos(0.7))
    for k, unit in enumerate((X, Y, Z)):
        assert np.allclose(rotation_about(unit, 0.7), rotation(0.7 * np.eye(3)[k]))


def test_a_rigid_matrix_turns_about_its_centre_and_then_shifts():
    turn, centre, shift = rotation([0.3, -0.4, 0.5]), np.array((10.0, -20.0, 30.0)), np.array((1.0, 2.0, 3.0))
    assert np.allclose(rigid(turn, shift, centre) @ [*centre, 1], [*(centre + shift), 1])
    assert np.allclose(rigid(turn, shift) @ [*X, 1], [*(turn @ X + shift), 1])
