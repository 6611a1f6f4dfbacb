import struct
import zlib

import numpy as np
import pytest
from microbleeds.geometry import to_canonical
from microbleeds.snapshots import CROP_MM, CROP_PIXELS, PLANES, axial_locator, crop, grey_window, png
from microbleeds.volume import Volume

AXIAL, CORONAL, SAGITTAL = PLANES


def decode(data: bytes) -> np.ndarray:
    """A PNG reader of a dozen lines: the oracle of our writer."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, body = 8, b""
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at:at + 8])
        chunk, check = data[at + 8:at + 8 + size], struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0]
        assert check == zlib.crc32(name + chunk)
        if name == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", chunk[:10])
            assert (depth, colour) == (8, 0)
        body += chunk if name == b"IDAT" else b""
        at += 12 + size
    rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(height, width + 1)
    assert (rows[:, 0] == 2).all()
    return np.cumsum(rows[:, 1:], axis=0, dtype=np.uint64).astype(np.uint8)


def ball_volume(spacing, centre_ras, radius_mm=3.0, shape=(60, 60, 60), flip=False):
    """A dark ball in noise-free tissue of 100, brighter towards the patient's right, front and top."""
    affine = np.diag([*spacing, 1.0])
    if flip:
        affine[0, 0] = -affine[0, 0]
        affine[0, 3] = (shape[0] - 1) * spacing[0]
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    ras = index @ affine[:3, :3].T + affine[:3, 3]
    data = 100 + ras @ [0.2, 0.3, 0.4]
    data[np.linalg.norm(ras - centre_ras, axis=-1) <= radius_mm] = 20
    return to_canonical(Volume(data.astype(np.float32), affine))


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (40, 30)])
def test_png_comes_back_as_it_was(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(decode(png(pixels)), pixels)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("plane", PLANES, ids=lambda plane: plane.name)
def test_a_ball_is_round_and_central_whatever_the_voxel_size(plane, flip):
    volume = ball_volume((0.5, 0.8, 1.2), (20.0, 25.0, 35.0), shape=(80, 60, 60), flip=flip)
    dark = crop(volume, (20.0, 25.0, 35.0), plane, (0.0, 140.0)) < 100
    rows, columns = np.nonzero(dark)
    assert rows.mean() == pytest.approx((CROP_PIXELS - 1) / 2, abs=1)
    assert columns.mean() == pytest.approx((CROP_PIXELS - 1) / 2, abs=1)
    pixel_mm = CROP_MM / CROP_PIXELS
    assert np.ptp(rows) * pixel_mm == pytest.approx(6, abs=1.0)
    assert np.ptp(columns) * pixel_mm == pytest.approx(6, abs=1.0)


@pytest.mark.parametrize("flip", [False, True])
def test_radiological_convention(flip):
    volume = ball_volume((1, 1, 1), (30.0, 30.0, 30.0), flip=flip)
    for plane in PLANES:
        pixels = crop(volume, (30.0, 30.0, 30.0), plane, (60.0, 160.0)).astype(int)
        assert (plane.left, plane.top) in (("R", "A"), ("R", "S"), ("A", "S"))
        assert pixels[60, 0] > pixels[60, -1], f"{plane.name}: right or anterior belongs on the left"
        assert pixels[0, 60] > pixels[-1, 60], f"{plane.name}: anterior or superior belongs at the top"


def test_outside_the_scan_and_masked_background_are_black():
    volume = ball_volume((1, 1, 1), (30.0, 30.0, 30.0))
    at_the_edge = crop(volume, (59.0, 30.0, 30.0), AXIAL, (0.0, 140.0))
    assert (at_the_edge[:, :50] == 0).all() and (at_the_edge[:, 70:] > 0).all()
    masked = volume.with_data(np.where(np.arange(60)[:, None, None] < 30, 0, volume.data - 200))
    pixels = crop(masked, (30.0, 30.0, 30.0), AXIAL, (-300.0, 0.0))
    assert (pixels[:, 70:] == 0).all()


def test_window_is_robust_and_leaves_out_the_background():
    rng = np.random.default_rng(1)
    data = rng.normal(100, 10, (40, 40, 40)).astype(np.float32)
    data[:20] = 0
    data[30, 30, 30] = 1e9
    data[31, 31, 31] = np.nan
    low, high = grey_window(Volume(data, np.eye(4)), (25, 20, 20))
    assert 40 < low < 80 and 120 < high < 160


@pytest.mark.parametrize("value", [0.0, 7.0, -3.0, 1e-8])
def test_window_of_a_constant_volume_is_not_empty(value):
    low, high = grey_window(Volume(np.full((8, 8, 8), value, np.float32), np.eye(4)), (4, 4, 4))
    assert low < high


def test_locator_is_cut_to_the_head_and_points_at_the_finding():
    data = np.zeros((100, 120, 10), np.float32)
    data[20:81, 30:101] = 100
    data[40, 60] = 10
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    locator = axial_locator(Volume(data, affine), (40.0, 60.0, 20.0), (0.0, 110.0))
    assert locator.pixels.shape == (71, 61)
    assert (locator.x, locator.y) == (40, 40)
    assert locator.pixels[40, 40] < 30 < locator.pixels[40, 41]


def test_locator_of_an_all_dark_slice_still_holds_the_point():
    locator = axial_locator(Volume(np.zeros((9, 9, 9)), np.eye(4)), (20.0, 4.0, 4.0), (0.0, 1.0))
    assert locator.pixels.size == 1
