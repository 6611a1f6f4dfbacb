"""Hard models: damaged, lying, oversized, and those that want to run code when they are loaded."""

import hashlib
import io
import json
import os
import pickle
import pickletools
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import torch
from hard_input_cases import OUT, HardInput, Shelf, detect
from microbleeds.calibration import Calibration
from microbleeds.model_folders import CARD
from microbleeds.networks import Detector, Student
from microbleeds.training.export import export_model

_NAN = float("nan")
_NAMES = {"detector": "x_cdet_model_weights.pth", "student": "x_cdisc_student_model_weights.pth"}


class _Evil:
    """Unpickles as a call."""

    def __init__(self, function: Callable, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


def hard_models(shelf: Shelf) -> Iterator[HardInput]:
    """Make all of them."""
    torch.manual_seed(1)
    folder = shelf.new("valid", "model") / "small"
    export_model(folder, Detector(2), Student(2), Calibration(), {"balanced": {}, "sensitive": {}}, {})
    for kind in (_cards, _weights, _malicious, _published, _names):
        yield from kind(shelf, folder)


def _copy(shelf: Shelf, small: Path, kind: str, name: str) -> Path:
    return Path(shutil.copytree(small, shelf.new(kind, name) / "model"))


def _ways(kind: str, name: str, folder: Path, named: str, number: int, marker: Path | None = None) -> HardInput:
    """Return an input that is used by detect, finetune, import or verify, by turns."""
    home = {"CMBDETECT_MODELS": OUT}
    way = number % 4
    if way == 0:
        return HardInput(kind, f"{name} (detect)", detect(folder.parent / "scan.nii", "--model", str(folder)), named,
                         marker=marker)
    if way == 1:
        return HardInput(kind, f"{name} (import)", ("models", "import", str(folder), "--name", "new"), named,
                         environment=home, marker=marker)
    if way == 2:
        return HardInput(kind, f"{name} (verify)", ("models", "verify", folder.name), named,
                         environment={"CMBDETECT_MODELS": str(folder.parent)}, marker=marker)
    return HardInput(kind, f"{name} (finetune)", ("finetune", "--from", str(folder), "--data", str(folder), "-o",
                                                  f"{OUT}/model", "--progress", "none"), named, marker=marker)


def _cards(shelf: Shelf, small: Path) -> Iterator[HardInput]:
    kind = "model cards"
    valid = json.loads((small / CARD).read_text(encoding="utf-8"))
    texts: dict[str, bytes] = {
        "empty": b"", "no JSON": b"{", "a list": b"[]", "a number": b"7", "null": b"null",
        "random bytes": shelf.rng.bytes(300), "UTF-16": json.dumps(valid).encode("utf-16"),
        "cut off": json.dumps(valid).encode()[:200], "nested 100000 times": b"[" * 100_000 + b"]" * 100_000,
        "nested in an object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "a number of a million digits":
            b'{"kind": ' + b"9" * 1_000_000 + b"}"}
    for number, (name, content) in enumerate(texts.items()):
        folder = _copy(shelf, small, kind, name)
        (folder / CARD).write_bytes(content)
        yield _ways(kind, name, folder, CARD, number)
    changes: dict[str, Callable[[dict], object]] = {
        "without files": lambda card: card.pop("files"), "files in a text": lambda card: card.update(files="all"),
        "a file elsewhere": lambda card: card["files"]["student"].update(file="../../../etc/passwd"),
        "a file without a name": lambda card: card["files"]["student"].update(file=""),
        "a file that is a folder": lambda card: card["files"]["student"].update(file="."),
        "a number as file": lambda card: card["files"]["student"].update(file=7),
        "a file with NUL": lambda card: card["files"]["student"].update(file="a\0b"),
        "no SHA-256": lambda card: card["files"]["student"].pop("sha256"),
        "another SHA-256": lambda card: card["files"]["student"].update(sha256="0" * 64),
        "another width": lambda card: card["networks"]["student"].update(width=3),
        "width 0": lambda card: card["networks"]["detector"].update(width=0),
        "width -1": lambda card: card["networks"]["detector"].update(width=-1),
        "width 1500": lambda card: card["networks"]["detector"].update(width=1500),
        "width 1e6": lambda card: card["networks"]["student"].update(width=1_000_000),
        "width 1e30": lambda card: card["networks"]["student"].update(width=10**30),
        "width in words": lambda card: card["networks"]["student"].update(width="wide"),
        "a billion classes": lambda card: card["networks"]["detector"].update(classes=10**9),
        "unknown arguments": lambda card: card["networks"]["student"].update(__class__="x"),
        "another architecture": lambda card: card.update(architecture="os.system"),
        "no operating points": lambda card: card.pop("operating_points"),
        "threshold 7": lambda card: card.update(operating_points={"balanced": {"candidates": {"threshold": 7}}}),
        "threshold NaN": lambda card: card.update(operating_points={"balanced": {"classify": {"threshold": _NAN}}}),
        "calibration NaN": lambda card: card.update(calibration={"student": _NAN, "detector": 0, "offset": 0}),
        "calibration in words": lambda card: card.update(calibration={"student": "much"}),
        "no name": lambda card: card.pop("name")}
    for number, (name, change) in enumerate(changes.items()):
        folder, card = _copy(shelf, small, kind, name), json.loads(json.dumps(valid))
        change(card)
        (folder / CARD).write_text(json.dumps(card))
        told = "student.pt" if name == "another SHA-256" else folder.name
        yield _ways(kind, name, folder, told, number)
    folder = _copy(shelf, small, kind, "a file above")
    for above in (folder.parent, folder.parents[1]):
        shutil.copy(small / "student.pt", above)
    above = json.loads(json.dumps(valid))
    above["files"]["student"]["file"] = "../student.pt"
    (folder / CARD).write_text(json.dumps(above))
    # an import that took the name as it is would write beside the folder of the model
    yield HardInput(kind, "a file above", ("models", "import", str(folder), "--name", "new"), folder.name,
                    environment={"CMBDETECT_MODELS": OUT})
    folder = _copy(shelf, small, kind, "a pipe")
    (folder / CARD).unlink()
    os.mkfifo(folder / CARD)
    yield HardInput(kind, "a pipe", detect(shelf.scan, "--model", str(folder)), folder.name)
    folder = _copy(shelf, small, kind, "4 GB")
    os.truncate(folder / CARD, 4 << 30)
    yield HardInput(kind, "4 GB", detect(shelf.scan, "--model", str(folder)), CARD)
    folder = _copy(shelf, small, kind, "unreadable")
    (folder / CARD).chmod(0)
    yield HardInput(kind, "may not be read", detect(shelf.scan, "--model", str(folder)), CARD, unprivileged=True)
    folder = shelf.new(kind, "none")
    yield HardInput(kind, "none", detect(shelf.scan, "--model", str(folder)), CARD)


def _with_weights(folder: Path, content: bytes, part: str = "student") -> Path:
    """Put a file into the place of weights, with its SHA-256 in the card, and return the folder."""
    (folder / f"{part}.pt").write_bytes(content)
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    card["files"][part]["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")
    return folder


def _weights(shelf: Shelf, small: Path) -> Iterator[HardInput]:
    kind = "weights"
    valid = (small / "student.pt").read_bytes()
    state = torch.load(io.BytesIO(valid), weights_only=True)
    key = next(iter(state))
    grown = {
        "broadcast to 4 GB": {**state, key: torch.zeros(1, dtype=torch.half).expand(1 << 15, 1 << 15)},
        "broadcast to 4 TB": {**state, key: torch.zeros(1).expand(1 << 20, 1 << 20)}}
    contents: dict[str, bytes] = {
        "empty": b"", "random bytes": shelf.rng.bytes(3000), "text": b"weights\n" * 99, "no archive": b"PK\3\4" * 99,
        "an archive of nothing": _archive({}), "an archive of other things": _archive({"a/readme.txt": b"hello"}),
        "a list": _saved([torch.zeros(3)]), "a number": _saved(7), "a text": _saved("weights"),
        "nothing at all": _saved({}),
        "keys that are numbers": _saved({1: torch.zeros(2)}), "values that are texts": _saved({"a": "b"}),
        "of another network": (small / "detector.pt").read_bytes(), "one layer missing": _saved(
            {name: value for name, value in state.items() if name != key}), "of other shapes": _saved(
            {name: value[None] for name, value in state.items()}), "complex": _saved(
            {name: value.to(torch.complex64) for name, value in state.items()}), "sparse": _saved(
            {name: value.float().to_sparse() for name, value in state.items()}), "NaN": _saved(
            {name: value * float("nan") for name, value in state.items()}),
        **{name: _saved(value) for name, value in grown.items()},
        "packed to a thousandth": _packed_zeros(),
        "storage larger than its record": _with_pickle(valid, lambda data: data.replace(
            pickle_int(state[key].numel()), pickle_int(1 << 30))),
        "a nested list": _pickle_archive(b"(" * 100_000 + b"t" * 100_000 + b".")}
    for number, (name, content) in enumerate(contents.items()):
        folder = _with_weights(_copy(shelf, small, kind, name), content)
        yield _ways(kind, name, folder, "student.pt", number)
    for cut in sorted(shelf.rng.integers(1, len(valid), 5).tolist()) + [len(valid) - 1]:
        folder = _with_weights(_copy(shelf, small, kind, f"cut {cut}"), valid[:cut])
        yield _ways(kind, f"cut off at {cut}", folder, "student.pt", cut)
        folder = _copy(shelf, small, kind, f"cut {cut} with another digest")
        (folder / "detector.pt").write_bytes(valid[:cut])
        yield _ways(kind, f"cut off at {cut}, SHA-256 of the whole", folder, "detector.pt", cut)
    folder = _copy(shelf, small, kind, "hole")
    os.truncate(folder / "student.pt", 6 << 30)
    yield _ways(kind, "6 GB", folder, "student.pt", 0)
    for name, make in {"a pipe": os.mkfifo, "a folder": os.mkdir, "a link to itself": lambda path: path.symlink_to(
            path.name), "missing": lambda path: None, "zeros without end": lambda path: path.symlink_to(
                "/dev/zero")}.items():
        folder = _copy(shelf, small, kind, name)
        (folder / "student.pt").unlink()
        make(folder / "student.pt")
        yield _ways(kind, name, folder, "student.pt", 1)
    folder = _copy(shelf, small, kind, "unreadable")
    (folder / "student.pt").chmod(0)
    yield HardInput(kind, "may not be read", detect(shelf.scan, "--model", str(folder)), "student.pt",
                    unprivileged=True)


def _malicious(shelf: Shelf, small: Path) -> Iterator[HardInput]:
    kind = "malicious weights"
    marker = shelf.new(kind, "markers")
    valid = torch.load(small / "student.pt", weights_only=True)
    key = next(iter(valid))

    def calls(target: Path) -> dict[str, _Evil]:
        touch = f"touch {target}"
        return {"os.system": _Evil(os.system, touch), "eval": _Evil(eval, f"open({str(target)!r}, 'w').close()"),
                "exec": _Evil(exec, f"open({str(target)!r}, 'w').close()"), "open": _Evil(open, str(target), "w"),
                "os.mkdir": _Evil(os.mkdir, str(target)), "Path.touch": _Evil(Path.touch, target),
                "shutil.copy": _Evil(shutil.copy, "/etc/hostname", str(target)),
                "torch.save": _Evil(torch.save, 1, str(target)),
                "a pickle in it": _Evil(pickle.loads, pickle.dumps(_Evil(os.system, touch)))}

    number = 0
    for name in calls(marker):
        # as the whole, as a value, and as a key of the state dict; zip archive and the form before PyTorch 1.6
        for how, wrap in {"whole": lambda evil: evil, "value": lambda evil: {**valid, key: evil},
                          "beside": lambda evil: {**valid, "more": [evil]}}.items():
            target = marker / f"{number}"
            evil = calls(target)[name]
            content = _saved(wrap(evil), new=number % 3 > 0)
            folder = _with_weights(_copy(shelf, small, kind, f"{name} {how}"), content)
            yield _ways(kind, f"{name}, {how}", folder, "student.pt", number, target)
            number += 1
    for name, content in {
            "protocol 0 by hand": lambda target: f"cos\nsystem\n(S'touch {target}'\ntR.".encode(),
            "stack global by hand": lambda target: pickletools.optimize(pickle.dumps(
                _Evil(os.system, f"touch {target}"), 4)),
            "build with a state": lambda target: b"ctorch\nTensor\n)\x81}(X\x06\0\0\0__dict" + f"cos\nsystem\n(S'touch "
                                  f"{target}'\ntRub.".encode(),
            "in an archive by hand": lambda target: _pickle_archive(f"cos\nsystem\n(S'touch {target}'\ntR.".encode()),
            "a TorchScript module": lambda target: _torch_script(), "a tar archive": _tar_archive}.items():
        target = marker / f"{number}"
        folder = _with_weights(_copy(shelf, small, kind, name), content(target))
        yield _ways(kind, name, folder, "student.pt", number, target)
        number += 1
    for part, file_name in _NAMES.items():
        for new in (True, False):
            target = marker / f"{number}"
            folder = shelf.new(kind, f"published {part} {new}")
            for other in _NAMES.values():
                torch.save(valid, folder / other)
            evil = {"model_state_dict": valid, "epoch": _Evil(os.system, f"touch {target}")}
            (folder / file_name).write_bytes(_saved(evil, new=new))
            yield HardInput(kind, f"published {part}, {'archive' if new else 'old form'}", ("models", "import", str(
                folder)), file_name if part == "detector" else "", environment={"CMBDETECT_MODELS": OUT}, marker=target)
            number += 1


def _published(shelf: Shelf, small: Path) -> Iterator[HardInput]:
    kind = "published weights"
    state = torch.load(small / "student.pt", weights_only=True)
    for name, content in {"empty": b"", "random bytes": shelf.rng.bytes(999), "of another network": _saved(state),
                          "a list": _saved([1]), "cut off": _saved(state)[:900],
                          "packed to a thousandth": _packed_zeros(),
                          "old form, cut off": _saved(state, new=False)[:900]}.items():
        folder = shelf.new(kind, name)
        for file_name in _NAMES.values():
            (folder / file_name).write_bytes(content)
        yield HardInput(kind, name, ("models", "import", str(folder)), _NAMES["detector"],
                        environment={"CMBDETECT_MODELS": OUT})
    folder = shelf.new(kind, "hole")
    for file_name in _NAMES.values():
        (folder / file_name).touch()
        os.truncate(folder / file_name, 6 << 30)
    yield HardInput(kind, "6 GB", ("models", "import", str(folder)), _NAMES["detector"],
                    environment={"CMBDETECT_MODELS": OUT})
    folder = shelf.new(kind, "none")
    yield HardInput(kind, "an empty folder", ("models", "import", str(folder)), str(folder),
                    environment={"CMBDETECT_MODELS": OUT})
    yield HardInput(kind, "a scan", ("models", "import", str(shelf.scan)), shelf.scan.name,
                    environment={"CMBDETECT_MODELS": OUT})


def _names(shelf: Shelf, small: Path) -> Iterator[HardInput]:
    kind = "names of models"
    for name in ("../../outside", "/etc/model", "", ".hidden", "a b", "😀", "x" * 300, "physics-0.3", "con/x"):
        yield HardInput(kind, f"import as {name[:20]!r}", ("models", "import", str(small), f"--name={name}"),
                        name, environment={"CMBDETECT_MODELS": OUT})
        yield HardInput(kind, f"detect with {name[:20]!r}", detect("missing.nii", f"--model={name or ' '}x"),
                        f"{name}x")


def _saved(content: object, new: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=new)
    return stream.getvalue()


def _archive(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _files(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@cache
def _packed_zeros() -> bytes:
    """Return 256 MB of weights in an archive of 256 kB."""
    return _archive(_files(_saved({"a": torch.zeros(1 << 26)})), zipfile.ZIP_DEFLATED)


def _with_pickle(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    return _archive({name: change(data) if name.endswith("data.pkl") else data
                     for name, data in _files(content).items()})


def _pickle_archive(data: bytes) -> bytes:
    return _archive({"archive/data.pkl": data, "archive/version": b"3\n", "archive/byteorder": b"little"})


def pickle_int(value: int) -> bytes:
    """Return a number as protocol 2 writes it."""
    return pickle.dumps(value, 2)[2:-1]


def _torch_script() -> bytes:
    """Return a module of TorchScript; loading one builds classes of the file's choice."""
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), stream)
    return stream.getvalue()


def _tar_archive(target: Path) -> bytes:
    """Return the form that PyTorch had before 0.2, a tar archive with pickles in it."""
    stream = io.BytesIO()
    evil = pickle.dumps(_Evil(os.system, f"touch {target}"), 2)
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(evil)
            archive.addfile(entry, io.BytesIO(evil))
    return stream.getvalue()
