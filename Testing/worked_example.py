"""The worked example of the documentation: the sample scan detected, reviewed by script, exported in every form.

    python Testing/worked_example.py -o DIR [--pages DIR]

The scripted reader knows the truth of the simulated scan: findings that overlap a drawn microbleed are accepted, the
others rejected with a reason, what was missed is added. ``--pages`` keeps copies of the HTML report and the PDF
(the repository's: ``--pages Resources/Example``), with pictures of its pages if pdftoppm is installed. Needs highdicom
and reportlab; the scan is written as a DICOM series first, so that DICOM objects can be made.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from microbleeds import review_log
from microbleeds.components import equivalent_diameter_mm, region_voxels
from microbleeds.geometry import voxel_to_ras
from microbleeds.outputs import FILE_NAMES, read_result
from microbleeds.read_write import files_sha256, read_labels, read_on_grid, read_scan, write_label_map, write_text
from microbleeds.review_files import ACCEPTED, FILE_NAME, REJECTED
from microbleeds.review_log import Event, ReviewState, replay
from microbleeds.review_sidecar import Sidecar, sidecar_text, voxels_sha256

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "CMBDetection" / "Resources" / "Sample" / "simulated_T2star.nii.gz"
TRUTH = SAMPLE.with_name("simulated_T2star_desc-cmb_truth.nii.gz")
READER, AT = "Example reader", "2026-11-24T09:00:00+00:00"
REASONS = ("vessel", "calcification", "mineralisation", "partial volume", "artefact")
NOT_DICOM = ("page", "pdf", "tables", "points", "segmentation", "labels", "bids", "training", "nnunet")


def main() -> int:
    """Run the example and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="an empty or new folder")
    parser.add_argument("--pages", type=Path, metavar="DIR", help="keep the HTML and PDF report here too")
    options = parser.parse_args()
    scan = options.output / "sub-sample_T2starw.nii.gz"
    options.output.mkdir(parents=True, exist_ok=True)
    shutil.copy(SAMPLE, scan)
    shutil.copy(SAMPLE.with_name("simulated_T2star.json"), scan.with_name("sub-sample_T2starw.json"))
    series = write_series(scan, options.output / "sub-sample_dicom")
    cmbdetect("detect", scan, "-o", options.output)
    review(scan)
    exported = options.output / "exported"
    cmbdetect("export", scan, "-o", exported, "--formats", *NOT_DICOM, "--cohort-table", exported / "cohort.tsv",
              "--overwrite")
    cmbdetect("export", series, "-o", exported, "--formats", "dicom", "--overwrite", "--review",
              scan.with_name(FILE_NAME.format("sub-sample_T2starw")))
    for path in sorted(exported.rglob("*")):
        if path.is_file():
            print(f"{path.relative_to(options.output)}  {path.stat().st_size} bytes")
    if options.pages:
        options.pages.mkdir(parents=True, exist_ok=True)
        for path in exported.glob("sub-sample*_reading.*"):
            shutil.copy(path, options.pages / path.name.replace("sub-sample_T2starw_desc-cmb_", ""))
        if shutil.which("pdftoppm"):
            subprocess.run(["pdftoppm", "-r", "70", "-png", options.pages / "reading.pdf", options.pages / "reading"],
                           check=True)
    return 0


def cmbdetect(*arguments: object) -> None:
    """Run the command line of this checkout, and stop if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "CMBDetection")}
    subprocess.run([sys.executable, "-m", "microbleeds", *map(str, arguments)], env=environment, check=True)


def review(image: Path) -> None:
    """Write the review of a reader who knows the truth, and the label map that belongs to it."""
    scan, result = read_scan(image), read_result(image.with_name(FILE_NAMES["findings"].format(scan_stem(image))))
    labels = read_labels(image.with_name(FILE_NAMES["labels"].format(scan_stem(image)))).data.copy()
    truth = read_on_grid(TRUTH, scan.volume, image).data
    events = [Event(AT, "", review_log.DETECTED, 0, review_log.detection_value(result, ReviewState()))]
    found: set[int] = set()
    rejected, least = 0, None
    for finding in result.findings:
        true = set(np.unique(truth[labels == finding.id]).tolist()) - {0}
        found |= true
        events.append(Event(AT, READER, review_log.VERDICT, finding.id, ACCEPTED if true else REJECTED, 2.4))
        if not true:
            events.append(Event(AT, READER, review_log.MIMIC_KIND, finding.id, REASONS[rejected % len(REASONS)]))
            rejected += 1
        else:
            # the findings come by falling probability
            least = finding.id
    if least is not None:
        events.append(Event(AT, READER, review_log.CERTAINTY, least, "possible"))
        events.append(Event(AT, READER, review_log.COMMENT, least, "Faint; „unsicher“, 再検"))
    number = replay(events).next_id
    for lesion, voxels in enumerate(region_voxels(truth, int(truth.max())), 1):
        if lesion in found or not len(voxels):
            continue
        centre = voxel_to_ras(scan.volume, voxels.mean(axis=0)[None])[0]
        diameter = equivalent_diameter_mm(len(voxels) * scan.volume.voxel_volume_mm3)
        events.append(Event(AT, READER, review_log.ADDED, number,
                            {"ras_mm": centre.tolist(), "diameter_mm": float(diameter)}, 6.0))
        labels[tuple(voxels.T)] = number
        number += 1
    events.append(Event(AT, READER, review_log.FINISHED, 0, True))
    sidecar = Sidecar(tuple(events), image.name, files_sha256([image]),
                      voxels_sha256(scan.volume.data, scan.volume.affine), READER,
                      result.provenance.parameters["classify"]["threshold"])
    write_text(image.with_name(FILE_NAME.format(scan_stem(image))), sidecar_text(sidecar))
    write_label_map(image.with_name(FILE_NAMES["labels"].format(scan_stem(image))), scan.volume.with_data(labels))


def scan_stem(image: Path) -> str:
    """Return the name of the scan without its suffix."""
    return image.name.removesuffix(".nii.gz")


def write_series(image: Path, folder: Path) -> Path:
    """Write a scan as a DICOM series of an invented subject, one file per slice."""
    volume = sitk.Cast(sitk.ReadImage(str(image)), sitk.sitkInt16)
    folder.mkdir(exist_ok=True)
    direction, root = volume.GetDirection(), "2.25.20261124"
    common = {"0008|0060": "MR", "0008|0008": "DERIVED\\SECONDARY", "0020|000d": f"{root}.1", "0020|000e": f"{root}.2",
              "0020|0052": f"{root}.3", "0010|0010": "Example^Simulated", "0010|0020": "sample",
              "0008|0020": "20261124", "0008|0030": "090000", "0020|0010": "1", "0020|0011": "1",
              "0008|103e": "Simulated T2*, not a patient", "0018|0020": "GR", "0018|0021": "NONE",
              "0018|0022": "", "0018|0023": "3D", "0018|0081": "20", "0018|0087": "3", "0008|0070": "CMBDetection",
              "0018|0050": f"{volume.GetSpacing()[2]:g}", "0020|0037": "\\".join(
                  f"{direction[index]:.10g}" for index in (0, 3, 6, 1, 4, 7))}
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(volume.GetDepth()):
        piece = volume[:, :, number]
        for tag, value in common.items():
            piece.SetMetaData(tag, value)
        place = volume.TransformIndexToPhysicalPoint((0, 0, number))
        piece.SetMetaData("0020|0032", "\\".join(f"{value:.10g}" for value in place))
        piece.SetMetaData("0020|0013", str(number + 1))
        piece.SetMetaData("0008|0018", f"{root}.4.{number + 1}")
        writer.SetFileName(str(folder / f"{number + 1:04d}.dcm"))
        writer.Execute(piece)
    return folder


if __name__ == "__main__":
    sys.exit(main())
