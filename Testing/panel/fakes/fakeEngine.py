"""Stands in for ``python -m microbleeds``: same arguments, same JSON lines, same files, in the standard library only.

Usage: fakeEngine.py SCENARIO PID_FILE detect IMAGE -o DIR ... ; the scenarios are the functions at the end.
"""

import argparse
import base64
import gzip
import hashlib
import json
import os
import signal
import struct
import sys
import threading
import time
import zlib
from pathlib import Path

FINDING_VOXELS = ((5, 6, 4), (12, 9, 6), (20, 14, 8))
"""Voxels (i, j, k) of the input's own grid on which the findings are centered."""
THRESHOLD = 0.5
PLACES = (("parietal", "right", 0.93), ("thalamus", "left", 0.41))
"""Region, side and confidence of the first findings in the scenario "regions"; the others have none."""
FRONTAL, MAPPED_PLANES = 9, 9
IMPROBABLE_VOXELS = tuple((i, j, k) for k in (2, 9) for j in (3, 16) for i in (3, 10, 17))
"""Those of candidates below the threshold, in the scenario "improbable"."""


def main():
    scenario, pidFile, *rest = sys.argv[1:]
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["detect"])
    parser.add_argument("image", type=Path)
    parser.add_argument("-o", dest="folder", type=Path, required=True)
    parser.add_argument("--modality", choices=["auto", "gre", "swi", "qsm"], required=True)
    parser.add_argument("--operating-point", choices=["balanced", "sensitive"], required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], required=True)
    parser.add_argument("--progress", choices=["json"], required=True)
    parser.add_argument("--improbable-regions", action="store_true", required=True)
    parser.add_argument("--exit-with-stdin", action="store_true", required=True)
    arguments = parser.parse_args(rest)
    Path(pidFile).write_text(str(os.getpid()))
    threading.Thread(target=_exitWithStdin, daemon=True).start()
    _say(event="progress", image=str(arguments.image), step="read", message="Reading", fraction=0.02)
    SCENARIOS[scenario](arguments)


def _exitWithStdin():
    while os.read(0, 4096):  # not sys.stdin: its lock would abort the interpreter at a normal end
        pass
    os._exit(130)


def _say(**event):
    print(json.dumps(event), flush=True)


def _fail(code, **error):
    _say(event="error", image=None, **error)
    _say(event="done", exit_code=code)
    sys.exit(code)


# The result


def _readGeometry(path):
    """Return sizes and the RAS voxel matrix (rows) of an NRRD file that Slicer has written."""
    header = {}
    with open(path, "rb") as file:
        for line in iter(file.readline, b"\n"):
            name, _, value = line.decode("ascii").strip().partition(": ")
            header[name] = value
    assert header["space"] == "left-posterior-superior", header
    vectors = [[float(x) for x in part.strip("()").split(",")] for part in header["space directions"].split()]
    origin = [float(x) for x in header["space origin"].strip("()").split(",")]
    signs = (-1, -1, 1)
    rows = [[signs[row] * vector[row] for vector in vectors] + [signs[row] * origin[row]] for row in range(3)]
    return [int(size) for size in header["sizes"].split()], rows


def _toRas(rows, voxel):
    return [sum(row[axis] * voxel[axis] for axis in range(3)) + row[3] for row in rows]


def _writeLabels(path, sizes, rows, voxels):
    """Write a NIfTI file of 8-bit labels: a cube of 3 x 3 x 3 voxels with value 1, 2, ... around each voxel."""
    labels = bytearray(sizes[0] * sizes[1] * sizes[2])
    for value, (ci, cj, ck) in enumerate(voxels, start=1):
        for k in range(ck - 1, ck + 2):
            for j in range(cj - 1, cj + 2):
                start = (k * sizes[1] + j) * sizes[0] + ci - 1
                labels[start:start + 3] = bytes([value] * 3)
    spacing = [sum(row[axis] ** 2 for row in rows) ** 0.5 for axis in range(3)]
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *sizes, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, *spacing, 0, 0, 0, 0)
    struct.pack_into("<2f", header, 108, 352, 1)
    struct.pack_into("<2h", header, 252, 0, 2)
    struct.pack_into("<12f", header, 280, *(value for row in rows for value in row))
    header[344:348] = b"n+1\0"
    path.write_bytes(gzip.compress(bytes(header + labels)))


def _finding(number, position, probability):
    kept = probability >= THRESHOLD
    return {"id": number, "ras_mm": position, "probability": probability, "detector_probability": 0.8,
            "volume_mm3": 13.5, "diameter_mm": 2.95, "box_ras_mm": [position, position],
            "extrema": {"minimum": 1, "maximum": 2, "minimum_ras_mm": position, "maximum_ras_mm": position},
            "status": "kept" if kept else "removed", "removed_by": None if kept else "step2_classify: probability",
            "edge_mm": 4.2 if number == 1 else None}


def _regionMap(sizes, rows):
    """Return a region map on the grid of the scan: left frontal in the first planes along i, nothing beyond."""
    plane = sizes[1] * sizes[2]
    values = bytes([FRONTAL]) * (MAPPED_PLANES * plane) + bytes((sizes[0] - MAPPED_PLANES) * plane)
    return {"shape": sizes, "affine": [*rows, [0, 0, 0, 1]],
            "values": base64.b64encode(zlib.compress(values)).decode("ascii")}


def _writeResult(arguments, voxels, improbable=(), version="1.0", labelsAreDamaged=False, places=()):
    sizes, rows = _readGeometry(arguments.image)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    stem = arguments.image.stem
    candidates = [_finding(number, _toRas(rows, voxel), 1.0 - 0.1 * number)
                  for number, voxel in enumerate(voxels, start=1)]
    candidates += [_finding(number, _toRas(rows, voxel), 0.48 - 0.02 * index)
                   for index, (number, voxel) in enumerate(enumerate(improbable, start=len(candidates) + 1))]
    for candidate, (region, side, confidence) in zip(candidates, places, strict=False):
        candidate["place"] = {"region": region, "side": side, "confidence": confidence, "category_confidence": 0.97,
                              "side_confidence": 1}
    findings = [candidate for candidate in candidates if candidate["status"] == "kept"]
    provenance = {"input_name": arguments.image.name,
                  "input_sha256": hashlib.sha256(arguments.image.read_bytes()).hexdigest(),
                  "modality": arguments.modality,
                  "modality_reason": "given", "model_name": arguments.model, "model_sha256": "1" * 64,
                  "operating_point": arguments.operating_point, "shape": sizes, "spacing_mm": [1, 1, 1],
                  "parameters": {"fake": {"python_path": os.environ.get("PYTHONPATH", ""), "device": arguments.device},
                                 "classify": {"threshold": THRESHOLD}}, "versions": {}, "seconds": {},
                  "warnings": [], "simulated": False}
    findingsPath = arguments.folder / f"{stem}_desc-cmb_findings.json"
    findingsPath.write_text(json.dumps({"schema_version": version, "provenance": provenance, "findings": findings,
                                        "candidates": candidates,
                                        "region_map": _regionMap(sizes, rows) if places else None}))
    labelsPath = arguments.folder / f"{stem}_desc-cmb_dseg.nii.gz"
    _writeLabels(labelsPath, sizes, rows, (*voxels, *improbable))
    if labelsAreDamaged:
        labelsPath.write_bytes(b"damaged")
    for name in ("findings.tsv", "markups.mrk.json", "report.html"):
        (arguments.folder / f"{stem}_desc-cmb_{name}").write_text("not read by the panel")
    _say(event="result", image=str(arguments.image), files={"findings": str(findingsPath), "labels": str(labelsPath)},
         counts={"findings": len(findings), "candidates": len(findings)})
    _say(event="done", exit_code=0)


# Scenarios


def _normal(arguments, voxels=FINDING_VOXELS):
    for step, message, fraction in (("prepare", "Brain mask", 0.2), ("candidates", "Candidates", 0.5),
                                    ("classify", "Classification", 0.8), ("write", "Writing", 0.95)):
        _say(event="progress", image=str(arguments.image), step=step, message=message, fraction=fraction)
        time.sleep(0.03)
    _writeResult(arguments, voxels)


def _empty(arguments):
    _normal(arguments, voxels=())


def _chatty(arguments):
    print("Loading libraries...\n{not json\n[1, 2]", flush=True)
    sys.stdout.buffer.write(b"\xff\xfe broken text\n")
    _say(event="warning", image=str(arguments.image), message="The slices are 6 mm thick.")
    print("some warning of a library", file=sys.stderr, flush=True)
    _normal(arguments)


def _slow(arguments):
    arguments.folder.mkdir(parents=True)
    (arguments.folder / "partial.tmp").write_bytes(bytes(1000))
    _say(event="progress", image=str(arguments.image), step="candidates", message="Candidates", fraction=0.34)
    time.sleep(60)


def _crash(arguments):
    raise RuntimeError("something in the engine broke")


def _killed(arguments):
    os.kill(os.getpid(), signal.SIGKILL)


def _memory(arguments):
    _fail(1, kind="memory", message="Memory ran out during step 1; close other programs or crop the volume.")


def _cudaMemory(arguments):
    if arguments.device != "cpu":
        _fail(1, kind="cuda_memory", message="GPU memory ran out.")
    _normal(arguments)


def _badInput(arguments):
    _fail(2, kind="input", message="vol.nrrd has 4 dimensions, expected 3; choose one echo first.")


def _improbable(arguments):
    _writeResult(arguments, FINDING_VOXELS, IMPROBABLE_VOXELS)


def _nextVersion(arguments):
    _writeResult(arguments, FINDING_VOXELS, version="2.0")


def _damagedLabels(arguments):
    _writeResult(arguments, FINDING_VOXELS, labelsAreDamaged=True)


def _regions(arguments):
    _writeResult(arguments, FINDING_VOXELS, places=PLACES)


def _noResult(arguments):
    _say(event="done", exit_code=0)


SCENARIOS = {"normal": _normal, "empty": _empty, "improbable": _improbable, "chatty": _chatty, "slow": _slow,
             "crash": _crash, "killed": _killed, "memory": _memory, "cudaMemory": _cudaMemory, "badInput": _badInput,
             "noResult": _noResult, "regions": _regions, "nextVersion": _nextVersion, "damagedLabels": _damagedLabels}

if __name__ == "__main__":
    main()
