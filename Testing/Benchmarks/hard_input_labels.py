"""Hard masks of the brain, label maps for `evaluate`, and labelled data sets for `train` and `finetune`."""

import gzip
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from hard_input_cases import (
    OUT,
    WORKS,
    HardInput,
    Shelf,
    detect,
    moved,
    nifti_with,
    result_file,
    rewritten,
)
from microbleeds.read_write import write_image, write_label_map
from microbleeds.volume import Volume
from training_sets import write_scan, write_set

MODEL = "physics-0.3"


def hard_labels(shelf: Shelf) -> Iterator[HardInput]:
    """Make all of them."""
    for kind in (_masks, _reference_maps, _point_tables, _training_sets):
        yield from kind(shelf)


def _odd_maps(shelf: Shelf) -> dict[str, Volume]:
    """Return label maps and masks that do not fit the valid scan, or hold what no map does."""
    brain = shelf.drawn.brain
    mask = brain.data.astype(np.float32)
    turned = brain.affine.copy()
    turned[:3, :2] = brain.affine[:3, 1::-1]
    return {"of another shape": Volume(mask[:-1], brain.affine), "moved by 5 mm": moved(brain, 5),
            "of other voxels": Volume(mask, brain.affine @ np.diag([1.1, 1, 1, 1])),
            "with two axes exchanged": Volume(mask, turned), "of NaN": brain.with_data(np.full_like(mask, np.nan))}


def _masks(shelf: Shelf) -> Iterator[HardInput]:
    kind = "masks"
    brain = shelf.drawn.brain
    zeros = np.zeros(brain.shape, np.float32)
    one = zeros.copy()
    one[20, 18, 7] = 1
    maps = _odd_maps(shelf) | {"of zeros": brain.with_data(zeros), "below zero": brain.with_data(zeros - 1),
                               "below zero everywhere but in one voxel": brain.with_data(one - 1)}
    for name, volume in maps.items():
        path = shelf.new(kind, name) / "brain.nii.gz"
        write_image(path, volume)
        yield HardInput(kind, name, detect(shelf.scan, "--mask", str(path)), "brain.nii.gz")
    fine = {"of one voxel": one, "of ones": zeros + 1,
            "of values 0, 7 and 300": brain.data * (7 + 293 * (shelf.drawn.labels.data > 0)),
            "of fractions": brain.data.astype(np.float32) * 0.3}
    for name, data in fine.items():
        path = shelf.new(kind, name) / "brain.nii.gz"
        write_image(path, brain.with_data(data.astype(np.float32)))
        yield HardInput(kind, name, detect(shelf.scan, "--mask", str(path)), expected=WORKS)
    whole = shelf.mask.read_bytes()
    for name, content in {"cut off": whole[:len(whole) // 2], "empty": b"", "of random bytes": shelf.rng.bytes(3000),
                          "4-D": gzip.compress(nifti_with(gzip.decompress(whole), dim=(
                              4, *brain.shape, 2, 1, 1, 1)) + bytes(brain.data.size * 4))}.items():
        yield HardInput(kind, name, detect(shelf.scan, "--mask", str(shelf.file(
            kind, name, "brain.nii.gz", content))), "brain.nii.gz")
    path = shelf.new(kind, "loop") / "brain.nii.gz"
    path.symlink_to(path.name)
    yield HardInput(kind, "a link to itself", detect(shelf.scan, "--mask", str(path)), "brain.nii.gz")
    path = shelf.new(kind, "pipe") / "brain.nii.gz"
    os.mkfifo(path)
    yield HardInput(kind, "a pipe", detect(shelf.scan, "--mask", str(path)), "brain.nii.gz")
    folder = shelf.new(kind, "folder")
    yield HardInput(kind, "a folder", detect(shelf.scan, "--mask", str(folder)), folder.name)
    yield HardInput(kind, "missing", detect(shelf.scan, "--mask", str(folder / "none.nii")), "none.nii")
    yield HardInput(kind, "one for two scans", ("detect", str(folder / "b.nii"), *detect(
        shelf.scan, "--mask", str(shelf.mask))[1:]), "mask.nii.gz")


def _evaluate(predictions: Path, truth: Path) -> tuple[str, ...]:
    return ("evaluate", "--predictions", str(predictions), "--truth", str(truth), "-o", OUT)


def _reference_maps(shelf: Shelf) -> Iterator[HardInput]:
    kind = "label maps"
    labels, stem = shelf.drawn.labels, shelf.scan.stem
    values = labels.data.astype(np.float64)
    maps = _odd_maps(shelf) | {
        "of fractions": labels.with_data(values * 0.3), "below zero": labels.with_data(-values),
        "of ones": labels.with_data(np.ones(labels.shape)), "an image": shelf.drawn.image,
        "of the brain": shelf.drawn.brain, "of values beyond int32": labels.with_data(values * 1e12),
        "with a block of NaN": labels.with_data(np.where(values > 0, np.nan, values)),
        "with an infinite voxel": labels.with_data(np.where(values > 0, np.inf, values))}
    for name, volume in maps.items():
        truth = shelf.new(kind, name)
        write_image(truth / f"{stem}_dseg.nii.gz", volume)
        yield HardInput(kind, f"reference {name}", _evaluate(shelf.results, truth), f"{stem}_dseg.nii.gz")
    good = shelf.new(kind, "good reference")
    write_label_map(good / f"{stem}_dseg.nii.gz", labels)
    for name, data in {"with unknown values": values + 90 * (values > 0), "below zero": -values,
                       "of fractions": values * 0.3, "with values beyond int32": values * 1e12}.items():
        results = shelf.results_in(kind, f"results {name}")
        write_image(result_file(results / shelf.scan.name, "labels"), labels.with_data(data))
        yield HardInput(kind, f"results {name}", _evaluate(results, good), result_file(shelf.scan, "labels").name)
    for name, content in {"cut off": gzip.compress(shelf.nifti)[:500], "empty": b"",
                          "not an image": b"PK\3\4" * 99}.items():
        truth = shelf.file(kind, f"reference {name}", f"{stem}_dseg.nii.gz", content).parent
        yield HardInput(kind, f"reference {name}", _evaluate(shelf.results, truth), f"{stem}_dseg.nii.gz")
        results = shelf.results_in(kind, f"results {name}")
        result_file(results / shelf.scan.name, "labels").write_bytes(content)
        yield HardInput(kind, f"results {name}", _evaluate(results, good), result_file(shelf.scan, "labels").name)
    truth = shelf.new(kind, "loop")
    (truth / f"{stem}_dseg.nii.gz").symlink_to(f"{stem}_dseg.nii.gz")
    yield HardInput(kind, "reference a link to itself", _evaluate(shelf.results, truth), f"{stem}_dseg.nii.gz")
    empty = shelf.new(kind, "empty")
    yield HardInput(kind, "no results", _evaluate(empty, good), str(empty))
    yield HardInput(kind, "no reference", _evaluate(shelf.results, empty), str(empty))
    yield HardInput(kind, "reference of another scan", _evaluate(shelf.results, shelf.file(
        kind, "other", "other_dseg.nii.gz", (good / f"{stem}_dseg.nii.gz").read_bytes()).parent), "other_dseg.nii.gz")
    yield HardInput(kind, "the results themselves as reference", _evaluate(shelf.results, shelf.results),
                    result_file(shelf.scan, "labels").name)
    for name, change in {"without candidates": lambda content: content.pop("candidates"),
                         "of version 9": lambda content: content.update(schema_version="9.0"),
                         "that contradicts itself": lambda content: content["findings"].pop()}.items():
        results = shelf.results_in(kind, f"findings {name}")
        path = rewritten(result_file(results / shelf.scan.name, "findings"), change)
        yield HardInput(kind, f"findings {name}", _evaluate(results, good), path.name)


def _point_tables(shelf: Shelf) -> Iterator[HardInput]:
    kind = "tables of points"
    stem, header = shelf.scan.stem, "subject\tR_mm\tA_mm\tS_mm\n"
    place = "\t".join(f"{value:.2f}" for value in shelf.drawn.centres_ras[0])
    for name, text in {
            "empty": "", "header alone": header, "other columns": "subject\tx\ty\tz\ns\t1\t2\t3\n",
            "words for numbers": f"{header}{stem}\tleft\tfront\ttop\n", "NaN": f"{header}{stem}\tnan\t0\t0\n",
            "infinity": f"{header}{stem}\tinf\t0\t0\n", "1e308": f"{header}{stem}\t1e308\t0\t0\n",
            "outside of the scan": f"{header}{stem}\t9000\t0\t0\n", "short rows": f"{header}{stem}\t1\n",
            "long rows": f"{header}{stem}\t{place}\t5\t6\t7\n", "unknown subject": f"{header}nobody\t{place}\n",
            "no subject": f"{header}\t{place}\n", "diameter NaN":
                f"{header[:-1]}\tequivalent_diameter_mm\n{stem}\t{place}\tnan\n", "diameter below 0":
                f"{header[:-1]}\tequivalent_diameter_mm\n{stem}\t{place}\t-4\n", "diameter 1e9":
                f"{header[:-1]}\tequivalent_diameter_mm\n{stem}\t{place}\t1e9\n", "a quotation mark too many":
                f'{header}"{stem}\t{place}\n', "a NUL": f"{header}{stem}\t{place}\0\n"}.items():
        path = shelf.file(kind, name, "points.tsv", text)
        yield HardInput(kind, name, _evaluate(shelf.results, path), "points.tsv")
    for name, content in {"random bytes": shelf.rng.bytes(500), "UTF-16": f"{header}{stem}\t{place}\n".encode("utf-16"),
                          "a line of 1 MB": header.encode() + b"x" * (1 << 20)}.items():
        path = shelf.file(kind, name, "points.tsv", content)
        yield HardInput(kind, name, _evaluate(shelf.results, path), "points.tsv")


def _training_sets(shelf: Shelf) -> Iterator[HardInput]:
    kind = "training sets"
    labels = shelf.drawn.labels
    values = labels.data.astype(np.float64)
    maps = _odd_maps(shelf) | {
        "of fractions": labels.with_data(values * 0.3), "below zero": labels.with_data(-values),
        "of zeros": labels.with_data(values * 0), "of ones": labels.with_data(values * 0 + 1),
        "of values beyond int32": labels.with_data(values * 1e12), "an image": shelf.drawn.image}
    for number, (name, volume) in enumerate(maps.items()):
        folder = write_set(shelf.new(kind, f"labels {name}") / "set", ("one", "two"), 2)
        write_scan(folder, "bad", shelf.drawn)
        write_image(folder / "labels" / "bad.nii.gz", volume)
        yield HardInput(kind, f"labels {name}", _training(folder, number), "bad.nii.gz", listed=True)
    for number, (name, change) in enumerate({
            "image cut off": lambda path: path.write_bytes(path.read_bytes()[:500]), "image missing": Path.unlink,
            "image empty": lambda path: path.write_bytes(b""),
            "image a link to itself": lambda path: (path.unlink(), path.symlink_to(path.name)),
            "image a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
            "image of ones": lambda path: write_image(path, labels.with_data(np.ones(labels.shape, np.float32))),
            "the same image twice": lambda path: shutil.copy(path.with_name("one.nii.gz"), path),
            "brain mask empty": lambda path: write_label_map(
                path.with_name("bad_brain_mask.nii.gz"), labels.with_data(values * 0)),
            "label missing": lambda path: (path.parents[1] / "labels" / "bad.nii.gz").unlink()}.items()):
        folder = write_set(shelf.new(kind, name) / "set", ("one", "two"), 2)
        write_scan(folder, "bad", shelf.drawn)
        change(folder / "images" / "bad.nii.gz")
        yield HardInput(kind, name, _training(folder, number), "bad", listed=True)
    folder = shelf.new(kind, "other layouts")
    (folder / "empty").mkdir()
    yield HardInput(kind, "an empty folder", _training(folder / "empty", 0), "empty")
    yield HardInput(kind, "a missing folder", _training(folder / "missing", 1), "missing")
    yield HardInput(kind, "a scan instead of a folder", _training(shelf.scan, 0), shelf.scan.name)
    yield HardInput(kind, "a layout that does not fit", (*_training(folder / "empty", 0), "--layout", "valdo"), "empty")
    for name, content in {"is no JSON": "{", "is of a list": "[]", "has labels in words": '{"labels": "many"}',
                          "has a label of -1": '{"labels": {"background": 0, "microbleed": -1}}'}.items():
        place = shelf.new(kind, f"dataset {name}") / "set"
        write_set(place, ("one", "bad"), 2)
        (place / "images").rename(place / "imagesTr")
        (place / "labels").rename(place / "labelsTr")
        for path in (place / "labelsTr").iterdir():
            # unnumbered, as a foreign data set has them
            write_label_map(path, labels.with_data(values * 0))
        (place / "dataset.json").write_text(content)
        yield HardInput(kind, f"dataset.json {name}", _training(place, 0), "bad", listed=True)
    for name, content in {"no JSON": b"{", "a list": b"[]", "empty": b"", "random bytes": shelf.rng.bytes(300)}.items():
        place = shelf.results_in(kind, f"review {name}")
        (place / f"{shelf.scan.stem}_desc-cmb_review.json").write_bytes(content)
        yield HardInput(kind, f"review {name}", _training(place, 1), f"{shelf.scan.stem}_desc-cmb_review.json",
                        listed=True)


def _training(folder: Path, number: int) -> tuple[str, ...]:
    """Return the arguments of `train`, or of `finetune` for odd numbers."""
    command = ("finetune", "--from", MODEL) if number % 2 else ("train",)
    return (*command, "--data", str(folder), "-o", f"{OUT}/model", "--device", "cpu", "--jobs", "1",
            "--progress", "none")
