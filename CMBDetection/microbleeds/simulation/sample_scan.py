"""Make the bundled scan: one simulated T2*-GRE of a whole head, with its truth and a sidecar that says so.

    python -m microbleeds.simulation.sample_scan --labels training_seg_20.nii.gz --out CMBDetection/Resources/Sample
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from ..progress import make_reporter
from .data_set import CasePlan, make_data_set
from .protocol import Protocol
from .simulate import MAGNITUDE
from .subject import SubjectSettings

_PROTOCOL = Protocol(field_tesla=3.0, echo_times_ms=(25.0,), in_plane_mm=0.9, slice_mm=2.5,
                     tilt_degrees=(8.0, -2.0, 1.0), signal_to_noise=35.0)
_LESIONS = 8
_SEED = 20260
_NAME = "simulated_T2star"


def main() -> None:
    """Write image, truth and sidecar into the folder given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    plan = CasePlan("sub-0001", (_SEED,), options.labels, (MAGNITUDE,), _PROTOCOL, SubjectSettings(bleeds=_LESIONS))
    with tempfile.TemporaryDirectory() as folder:
        make_data_set([plan], Path(folder), 1, make_reporter("bar"))
        stem = f"{plan.name}_{MAGNITUDE}"
        for ending in (".nii.gz", ".json", "_desc-cmb_truth.nii.gz"):
            shutil.copy(Path(folder, plan.name, "anat", stem + ending), options.out / (_NAME + ending))


if __name__ == "__main__":
    main()
