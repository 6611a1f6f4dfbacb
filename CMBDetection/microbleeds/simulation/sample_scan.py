"""Make the bundled scan: one simulated T2*-GRE of a whole head, with its truth and a sidecar that says so.

    python -m microbleeds.simulation.sample_scan --labels training_seg_20.nii.gz --out CMBDetection/Resources/Sample
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..geometry import to_canonical
from ..read_write import read_labels, write_image, write_json, write_label_map
from . import anatomy
from .acquisition import Acquisition
from .simulate import simulate_scan

_PROTOCOL = Acquisition(modality="gre", in_plane_mm=0.9, slice_mm=2.5, echo_time_ms=25.0, field_tesla=3.0,
                        signal_to_noise=35.0, kept_bandwidth=1.0, tilt_degrees=(8.0, -2.0, 1.0), factor=(2, 2, 2))
_LESIONS = 8
_SEED = 20260
_NAME = "simulated_T2star"


def main() -> None:
    """Write image, truth and sidecar into the folder given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    labels = to_canonical(read_labels(options.labels))
    classes = labels.with_data(anatomy.class_map(labels.data))
    scan = simulate_scan(classes, _PROTOCOL, _LESIONS, np.random.default_rng(_SEED), whole_head=True)
    options.out.mkdir(parents=True, exist_ok=True)
    scale = 600 / float(np.median(scan.image.data[scan.brain.data]))
    write_image(options.out / f"{_NAME}.nii.gz",
                scan.image.with_data(np.rint(np.clip(scan.image.data * scale, 0, 4000)).astype(np.int16)))
    write_label_map(options.out / f"{_NAME}_desc-cmb_truth.nii.gz", scan.truth)
    write_json(options.out / f"{_NAME}.json", {
        "Simulated": True, "EchoTime": _PROTOCOL.echo_time_ms / 1000, "MagneticFieldStrength": _PROTOCOL.field_tesla,
        "SeriesDescription": "Simulated T2*-GRE, not a patient",
        "Anatomy": f"SynthSeg label map {options.labels.name}, Apache-2.0", "Seed": _SEED,
        "Protocol": asdict(_PROTOCOL), "Lesions": len(np.unique(scan.truth.data)) - 1})


if __name__ == "__main__":
    main()
