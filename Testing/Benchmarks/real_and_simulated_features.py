"""Hand-made features of a patch: grey values, gradients, spectrum and texture. None depends on left and right."""

import numpy as np
from scipy import ndimage

PERCENTILES = (1, 5, 25, 75, 95, 99)
GRADIENT_PERCENTILES = (10, 50, 75, 90, 99)
BANDS = 8
LAGS = (1, 2, 4)
DARK_DEVIATIONS = (1.5, 3.0)
_IMMERKAER = np.outer((1, -2, 1), (1, -2, 1))


def features(patch: np.ndarray) -> dict[str, float]:
    """Return the features of one normalised patch (p, p) by name."""
    patch = patch.astype(float)
    return {**_grey_values(patch), **_gradients(patch), **_spectrum(patch), **_texture(patch)}


def feature_table(patches: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return the features of patches (n, p, p) as (n, m), and their m names."""
    rows = [features(patch) for patch in patches]
    return np.array([list(row.values()) for row in rows]), list(rows[0])


def _grey_values(patch: np.ndarray) -> dict[str, float]:
    values = {f"percentile {share}": level for share, level in zip(PERCENTILES, np.percentile(patch, PERCENTILES),
                                                                   strict=True)}
    spread = patch.std() + 1e-9
    robust = 1.4826 * np.median(np.abs(patch - np.median(patch))) + 1e-9
    standard, standing = (patch - np.median(patch)) / robust, (patch - patch.mean()) / spread
    values |= {f"share {side} by {limit} deviations": float((sign * standard > limit).mean())
               for limit in DARK_DEVIATIONS for side, sign in (("darker", -1), ("brighter", 1))}
    return values | {"deviation": np.log(spread), "robust by plain deviation": robust / spread,
                     "skewness": float(np.mean(standing**3)), "kurtosis": float(np.log1p(np.mean(standing**4)))}


def _gradients(patch: np.ndarray) -> dict[str, float]:
    size = np.hypot(*np.gradient(patch))
    relative = size / (patch.std() + 1e-9)
    values = {f"gradient by deviation, percentile {share}": level
              for share, level in zip(GRADIENT_PERCENTILES, np.percentile(relative, GRADIENT_PERCENTILES), strict=True)}
    return values | {"gradient": np.log(size.mean() + 1e-9)}


def _spectrum(patch: np.ndarray) -> dict[str, float]:
    """Shares of energy in rings of frequency, from the whole patch to the grid's limit, and its lopsidedness."""
    window = np.hanning(len(patch))
    energy = np.abs(np.fft.fft2((patch - patch.mean()) * np.outer(window, window))) ** 2
    frequency = np.fft.fftfreq(len(patch))
    radius = np.hypot(*np.meshgrid(frequency, frequency))
    ring = np.minimum((radius * 2 * BANDS).astype(int), BANDS)
    rings = np.bincount(ring.ravel(), energy.ravel(), BANDS + 1)
    shares = np.log(rings / (energy.sum() + 1e-12) + 1e-9)
    across, along = (energy[np.ix_(*sides)].sum() for sides in
                     ((range(len(patch)), np.abs(frequency) > 0.25), (np.abs(frequency) > 0.25, range(len(patch)))))
    values = {f"spectrum band {band + 1} of {BANDS + 1}": float(share) for band, share in enumerate(shares)}
    return values | {"spectrum lopsided": float(abs(np.log((across + 1e-12) / (along + 1e-12))))}


def _texture(patch: np.ndarray) -> dict[str, float]:
    centred = patch - patch.mean()
    variance = centred.var() + 1e-12
    values = {f"correlation at {lag} pixels": float((np.mean(centred[lag:] * centred[:-lag])
                                                     + np.mean(centred[:, lag:] * centred[:, :-lag])) / 2 / variance)
              for lag in LAGS}
    fine = ndimage.convolve(patch, _IMMERKAER)[1:-1, 1:-1]
    noise = 1.4826 * np.median(np.abs(fine)) / 6
    local = np.sqrt(np.maximum(ndimage.uniform_filter(patch**2, 5) - ndimage.uniform_filter(patch, 5) ** 2, 0))
    smooth = ndimage.gaussian_filter(patch, 1)
    xx, xy, yy = (ndimage.gaussian_filter(patch, 1, order=order) for order in ((2, 0), (1, 1), (0, 2)))
    half, root = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    strong, weak = half + root, half - root
    dips = (smooth == ndimage.minimum_filter(smooth, 5))[2:-2, 2:-2]
    return values | {
        "noise": float(np.log(noise + 1e-6)),
        "fine structure, tails": float(np.log(fine.std() / 6 / (noise + 1e-6) + 1e-3)),
        "local deviation, 10 % by median": float(np.percentile(local, 10) / (np.median(local) + 1e-9)),
        "local deviation, 90 % by median": float(np.percentile(local, 90) / (np.median(local) + 1e-9)),
        "dark lines": float(np.mean(np.maximum(strong - np.abs(weak), 0)) / np.sqrt(variance)),
        "dark dots": float(np.mean(np.maximum(weak, 0)) / np.sqrt(variance)),
        "bright dots": float(np.mean(np.maximum(-strong, 0)) / np.sqrt(variance)), "dips": float(dips.mean())}
