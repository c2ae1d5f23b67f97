"""What parts of the head are told apart by."""

import numpy as np

from invertavatar.head_building.labels import inside


def test_a_point_is_inside_a_polygon_unless_it_lies_in_its_notch():
    arrow = np.array([[0, 0], [2, 0], [2, 2], [1, 1], [0, 2]], float)  # a square without its upper quarter
    points = np.array([[1, 0.5], [0.2, 1.5], [1.8, 1.5], [1, 1.5], [-0.1, 1], [2.1, 1], [1, -0.1], [1, 2.1]])
    assert inside(points, arrow).tolist() == [True] * 3 + [False] * 5
