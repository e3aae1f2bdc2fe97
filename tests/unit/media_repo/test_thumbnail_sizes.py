"""Sizes of thumbnails. Spec: client-server-api/#thumbnails"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_repo.thumbnails.sizes import MAX_SIDE, WantedSize, choose_fixed, fit

SPECIFIED = [
    WantedSize(32, 32, "crop"),
    WantedSize(96, 96, "crop"),
    WantedSize(320, 240, "scale"),
    WantedSize(640, 480, "scale"),
    WantedSize(800, 600, "scale"),
]
SIDES = st.integers(1, 5000)
METHODS = st.sampled_from(["scale", "crop"])


@pytest.mark.parametrize(
    ("wanted", "picture", "expected"),
    [
        (WantedSize(320, 240, "scale"), (4000, 3000), (320, 240)),
        (WantedSize(320, 240, "scale"), (3000, 4000), (320, 427)),
        (WantedSize(320, 240, "scale"), (1000, 500), (480, 240)),
        (WantedSize(320, 240, "scale"), (1000, 240), None),
        (WantedSize(320, 240, "scale"), (320, 240), None),
        (WantedSize(96, 96, "crop"), (4000, 3000), (96, 96)),
        (WantedSize(96, 96, "crop"), (1000, 50), (50, 50)),
        (WantedSize(96, 96, "crop"), (60, 40), None),
        (WantedSize(200, 50, "crop"), (100, 100), (100, 25)),
        (WantedSize(MAX_SIDE, MAX_SIDE, "scale"), (4000, 3000), None),
    ],
)
def test_sizes(
    wanted: WantedSize, picture: tuple[int, int], expected: tuple[int, int] | None
) -> None:
    made = fit(wanted, *picture)
    assert (None if made is None else (made.width, made.height)) == expected


@given(SIDES, SIDES, METHODS, SIDES, SIDES)
def test_nothing_is_enlarged_or_smaller_than_it_must_be(
    wide: int, high: int, method: str, width: int, height: int
) -> None:
    made = fit(WantedSize(wide, high, method), width, height)  # type: ignore[arg-type]  # sampled
    made_size = (width, height) if made is None else (made.width, made.height)
    assert 1 <= made_size[0] <= width
    assert 1 <= made_size[1] <= height
    if made is None:
        return
    assert made.shrinking >= 1 - 1e-9
    assert made.part[0] <= width + 1e-6
    assert made.part[1] <= height + 1e-6
    if wide <= width and high <= height:
        assert made_size[0] >= wide
        assert made_size[1] >= high


@given(SIDES, SIDES, SIDES, SIDES)
def test_scaled_picture_keeps_its_aspect(wide: int, high: int, width: int, height: int) -> None:
    made = fit(WantedSize(wide, high, "scale"), width, height)
    if made is not None:
        # One side is exact, the other is rounded up to a whole pixel.
        factor = max(wide / width, high / height)
        assert -1e-6 <= made.width - width * factor < 1 + 1e-6
        assert -1e-6 <= made.height - height * factor < 1 + 1e-6
        assert made.part == (width, height)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (WantedSize(50, 50, "crop"), WantedSize(96, 96, "crop")),
        (WantedSize(32, 32, "crop"), WantedSize(32, 32, "crop")),
        # A crop of another aspect would cut off what the client wants to see.
        (WantedSize(30, 20, "crop"), WantedSize(320, 240, "scale")),
        (WantedSize(200, 200, "crop"), WantedSize(320, 240, "scale")),
        (WantedSize(321, 1, "scale"), WantedSize(640, 480, "scale")),
        (WantedSize(801, 600, "scale"), WantedSize(MAX_SIDE, MAX_SIDE, "scale")),
        (WantedSize(32, 32, "scale", is_animated=True), WantedSize(320, 240, "scale", True)),
    ],
)
def test_smallest_fixed_size_that_is_enough(wanted: WantedSize, expected: WantedSize) -> None:
    assert choose_fixed(wanted, SPECIFIED) == expected
