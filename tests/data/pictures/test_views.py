import numpy as np
import pytest

from data.pictures.views import MOST_VIEWS, picture_views


def picture(size=32):
    """Each pixel tells its place: red rises to the right, green downwards."""
    ramp = np.linspace(0, 255, size).astype("uint8")
    columns, rows = np.meshgrid(ramp, ramp)
    return np.stack([columns, rows, np.zeros_like(rows)], axis=-1)


def test_the_first_view_is_the_picture_and_the_second_its_mirror_image():
    one = picture()
    views = picture_views(one, 2)
    np.testing.assert_array_equal(views[0], one)
    np.testing.assert_array_equal(views[1, :, ::-1], one)


def test_fewer_views_are_the_first_of_more():
    views = picture_views(picture(), MOST_VIEWS)
    assert views.shape == (10, 32, 32, 3)
    assert views.dtype == np.uint8
    for count in range(1, MOST_VIEWS):
        np.testing.assert_array_equal(picture_views(picture(), count), views[:count])


def test_corners_show_an_eighth_less_of_each_side():
    views = picture_views(picture(), MOST_VIEWS).astype(int)
    for number, (left, top) in enumerate([(True, True), (False, True), (True, False)], start=1):
        red, green = views[2 * number, :, :, 0], views[2 * number, :, :, 1]
        assert red.max() - red.min() == pytest.approx(255 * 7 / 8, abs=8)
        assert (red.min() < 4) == left
        assert (green.min() < 4) == top
        np.testing.assert_array_equal(views[2 * number + 1], views[2 * number][:, ::-1])


@pytest.mark.parametrize("count", [0, MOST_VIEWS + 1])
def test_no_other_number_of_views_is_given(count):
    with pytest.raises(ValueError, match="1 to 10 views"):
        picture_views(picture(), count)
