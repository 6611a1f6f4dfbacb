"""Makes Resources/Screenshots/panel.png: the panel with findings on a synthetic volume, beside the slice views.

    python Testing/screenshot_panel.py [FILE]
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

_ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(_ROOT / "CMBDetection"), str(_ROOT / "Testing")]

from Headless.start import start, stop  # noqa: E402

start()

import numpy as np  # noqa: E402
import qt  # noqa: E402
import slicer  # noqa: E402
from CMBDetectionLib import reviewSession  # noqa: E402
from CMBDetectionLib.panel import Panel  # noqa: E402
from CMBDetectionLib.volumeNodes import ijkToRas  # noqa: E402
from microbleeds.findings import DetectionResult, Extrema, Finding, Provenance  # noqa: E402
from microbleeds.read_write import write_label_map  # noqa: E402
from microbleeds.volume import Volume  # noqa: E402
from scipy import ndimage  # noqa: E402

SHAPE_KJI = (60, 240, 200)
SPACING_MM = (0.9, 0.9, 2.0)
LESIONS = ((88.0, 118.0, 32.0, 2.3), (61.0, 150.0, 34.0, 1.7), (132.0, 92.0, 31.0, 2.8), (140.0, 168.0, 38.0, 1.5),
           (70.0, 75.0, 27.0, 2.0), (112.0, 190.0, 33.0, 1.3), (52.0, 116.0, 25.0, 1.6))
"""Center (i, j, k) and radius in mm."""


def main(path):
    window, panel = makeWindow()
    volume, labels, positions = makeScan()
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    panel.ui.inputSelector.setCurrentNode(volume)
    panel.ui.findingsSelector.setCurrentNode(addFindings(volume, labels, positions))
    for row, button in ((0, panel.ui.acceptButton), (1, panel.ui.acceptButton), (2, panel.ui.rejectButton)):
        panel.ui.findingsTable.selectRow(row)
        button.click()
    for _turn in range(5):
        slicer.app.processEvents()
    path.parent.mkdir(parents=True, exist_ok=True)
    window.grab().save(str(path))
    panel.cleanup()
    window.hide()
    stop()


def makeWindow():
    """Return a window like Slicer's: the panel in 380 x 520 px, three slice views."""
    window = qt.QWidget()
    layout = qt.QHBoxLayout(window)
    parent = slicer.qMRMLWidget()
    parent.setLayout(qt.QVBoxLayout())
    parent.setMRMLScene(slicer.mrmlScene)
    parent.setFixedSize(380, 520)
    panel = Panel(parent.layout(), models=[("gre-1", "GRE/SWI/QSM, first weights (2026-11)")])
    layout.addWidget(parent, 0, qt.Qt.AlignTop)
    grid = qt.QGridLayout()
    layout.addLayout(grid, 1)
    layoutManager = slicer.app.layoutManager()
    grid.addWidget(layoutManager.sliceWidget("Red"), 0, 0, 2, 1)
    grid.addWidget(layoutManager.sliceWidget("Yellow"), 0, 1)
    grid.addWidget(layoutManager.sliceWidget("Green"), 1, 1)
    grid.setColumnStretch(0, 3)
    grid.setColumnStretch(1, 2)
    window.resize(1240, 560)
    window.show()
    slicer.app.processEvents()
    return window, panel


def makeScan():
    """Return a volume with a head, ventricles, veins and microbleeds, the label array and the positions in RAS mm."""
    rng = np.random.default_rng(3)
    k, j, i = np.indices(SHAPE_KJI).astype(np.float32)
    x, y, z = (i - 100) * 0.9, (j - 120) * 0.9, (k - 30) * 2.0
    radius = np.sqrt((x / 70) ** 2 + (y / 88) ** 2 + (z / 62) ** 2)
    texture = ndimage.gaussian_filter(rng.normal(0, 1, SHAPE_KJI), (2, 5, 5))
    folds = np.sin(x / 4 + 40 * texture) * np.cos(y / 5 + 30 * texture)
    image = np.where(radius < 0.8, 300, 340) + 25 * folds * (radius > 0.72) + 150 * texture
    image[np.sqrt(((abs(x) - 11) / 7) ** 2 + (y / 30) ** 2 + (z / 14) ** 2) < 1] = 430
    for angle in np.linspace(0, 2 * np.pi, 14, endpoint=False):
        depth = np.hypot(x - np.cos(angle) * 8 * np.sin(y / 9), y - np.sin(angle) * 8 * np.sin(x / 9))
        along = abs(x * np.sin(angle) - y * np.cos(angle) + 5 * np.sin(depth / 12))
        image[(along < 0.8) & (abs(z - 4 * np.sin(depth / 15) - 40 * np.cos(3 * angle)) < 2) & (depth > 30)] *= 0.55
    labels = np.zeros(SHAPE_KJI, np.uint8)
    for number, (ci, cj, ck, radius_mm) in enumerate(LESIONS, start=1):
        distance = np.sqrt(((i - ci) * 0.9) ** 2 + ((j - cj) * 0.9) ** 2 + ((k - ck) * 2.0) ** 2)
        image *= 1 - 0.7 / (1 + np.exp(np.minimum((distance - radius_mm) / 0.35, 50)))
        labels[distance < radius_mm + 0.4] = number
    image = ndimage.gaussian_filter(image, (0.3, 0.5, 0.5))
    image[(radius > 1) & (radius < 1.05)] = 60
    image[(radius > 1.05) & (radius < 1.13)] = 220
    image[radius >= 1.13] = 5
    image += rng.normal(0, 9, SHAPE_KJI)
    matrix = np.diag([-0.9, -0.9, 2.0, 1.0])
    matrix[:3, 3] = [90, 108, -60]
    volume = slicer.util.addVolumeFromArray(image.astype(np.float32), matrix, "sub-01_T2star (synthetic)")
    positions = [(matrix @ [ci, cj, ck, 1])[:3].tolist() for ci, cj, ck, _radius in LESIONS]
    return volume, labels, positions


def addFindings(volume, labels, positions):
    """Add what a detection would have added; return the findings node."""
    probabilities = (0.98, 0.95, 0.91, 0.83, 0.76, 0.64, 0.52)
    findings = tuple(
        Finding(number, tuple(position), probability, probability, 4 / 3 * np.pi * lesion[3] ** 3, 2 * lesion[3],
                (tuple(position), tuple(position)), Extrema(0.0, 0.0, tuple(position), tuple(position)))
        for number, (position, probability, lesion)
        in enumerate(zip(positions, probabilities, LESIONS, strict=True), start=1))
    provenance = Provenance("synthetic", "", "gre", "given", "none", "", "balanced", SHAPE_KJI[::-1], SPACING_MM,
                            {"classify": {"threshold": 0.5}}, {}, {})
    with tempfile.TemporaryDirectory() as folder:
        labelPath = Path(folder) / "labels.nii.gz"
        write_label_map(labelPath, Volume(labels.T, ijkToRas(volume)))
        session = reviewSession.begin(volume, lambda: None)
        session.detected(DetectionResult(findings, provenance), labelPath, 0.5)
    return session.node


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else _ROOT / "Resources" / "Screenshots" / "panel.png")
