import argparse
import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from microbleeds import batch, cli, read_write
from microbleeds.errors import FaultList, InputError, ModelError, SettingsError
from microbleeds.findings import DetectionResult, Extrema, Finding, Provenance

ENGINE = Path(cli.__file__).parents[1]
FILES = {"findings": "_desc-cmb_findings.json", "table": "_desc-cmb_findings.tsv", "labels": "_desc-cmb_dseg.nii.gz",
         "markups": "_desc-cmb_markups.mrk.json", "report": "_desc-cmb_report.html"}


@pytest.fixture
def scan(tmp_path):
    """Writes a small scan and returns its path as text."""
    def write(name="a.nii.gz", folder=tmp_path / "in"):
        folder.mkdir(exist_ok=True)
        image = sitk.GetImageFromArray(np.random.default_rng(0).normal(500, 50, (20, 32, 32)).astype(np.float32))
        sitk.WriteImage(image, str(folder / name))
        return str(folder / name)
    return write


class FakePipeline:
    """Stands in for `pipeline` and `weights`: finds one microbleed, or fails as told for a stem."""

    def __init__(self, monkeypatch):
        self.calls, self.failures, self.models = [], {}, []
        monkeypatch.setitem(sys.modules, "microbleeds.pipeline", SimpleNamespace(detect=self.detect))
        monkeypatch.setitem(sys.modules, "microbleeds.weights",
                            SimpleNamespace(DEFAULT_MODEL="default", load_model=self.load_model))

    def load_model(self, name):
        self.models.append(name)
        if name == "broken":
            raise ModelError("The model broken is damaged; install it again.")
        return "the model"

    def detect(self, scan, model, *, mask=None, modality="auto", operating_point="balanced", device="auto",
               improbable_regions=False, progress):
        self.calls.append(SimpleNamespace(stem=scan.stem, model=model, mask=mask, modality=modality,
                                          operating_point=operating_point, device=device,
                                          improbable_regions=improbable_regions))
        progress("prepare", "Brain mask", 0.0)
        for error in self.failures.get(scan.stem, []):
            self.failures[scan.stem].remove(error)
            raise error
        progress("cleanup", "Clean-up", 1.0)
        labels = np.zeros(scan.volume.shape, np.int32)
        labels[10:13, 10:13, 10:12] = 1
        position = tuple(float(x) for x in (scan.volume.affine @ [11, 11, 10.5, 1])[:3])
        finding = Finding(1, position, 0.9, 0.8, 18.0, 3.3, (position, position), Extrema(1, 2, position, position))
        removed = replace(finding, id=2, probability=0.1, status="removed", removed_by="step2_classify: probability")
        provenance = Provenance(Path(scan.path).name, "0" * 64, "gre", "asked for", "default", "1" * 64,
                                operating_point, scan.volume.shape, tuple(map(float, scan.volume.spacing)), {}, {},
                                {"prepare": 0.1}, (*scan.warnings, "Made by a fake."), scan.simulated)
        return SimpleNamespace(result=DetectionResult((finding, removed), provenance),
                               labels=scan.volume.with_data(labels))


@pytest.fixture
def pipeline(monkeypatch):
    return FakePipeline(monkeypatch)


def run(capsys, *arguments):
    """Run the command; return the exit code, standard output and standard error."""
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def events(capsys, *arguments):
    code, out, _ = run(capsys, *arguments, "--progress", "json")
    return code, [json.loads(line) for line in out.splitlines()]


def of_kind(told, event):
    return [item for item in told if item["event"] == event]


def test_help_and_version_need_neither_torch_nor_numpy():
    code = "import sys, microbleeds.cli; assert not {'torch', 'numpy', 'scipy', 'SimpleITK'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ENGINE, check=True)


def test_every_option_of_every_command_is_explained():
    def parsers_of(parser):
        yield parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for inner in action.choices.values():
                    yield from parsers_of(inner)

    unexplained = [(parser.prog, action.dest) for parser in parsers_of(cli._parser()) for action in parser._actions
                   if not action.help and not isinstance(action, argparse._SubParsersAction)]
    assert not unexplained


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("cmbdetect ")


@pytest.mark.parametrize("arguments", [[], ["detect"], ["detect", "a.nii"], ["detect", "a.nii", "-o", "x", "--threads",
                                       "0"], ["detect", "a.nii", "-o", "x", "--modality", "ct"], ["nonsense"],
                                       ["train", "--data", "d", "-o", "x", "--jobs", "-1"],
                                       ["train", "--data", "d", "-o", "x", "--threads", "0"]])
def test_a_wrong_command_line_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2


def test_detect_writes_the_five_files_and_tells_in_order(capsys, scan, pipeline, tmp_path):
    image, out = scan(), tmp_path / "deep" / "out"
    code, told = events(capsys, "detect", image, "-o", out)
    assert code == 0
    assert {path.name for path in out.iterdir()} == {"a" + ending for ending in FILES.values()}
    assert told[-1] == {"event": "done", "exit_code": 0}
    assert [item["step"] for item in of_kind(told, "progress")] == ["read", "prepare", "cleanup", "write"]
    fractions = [item["fraction"] for item in of_kind(told, "progress")]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] < 1
    assert of_kind(told, "result") == [{
        "event": "result", "image": image, "counts": {"findings": 1, "candidates": 2},
        "files": {key: str(out / ("a" + ending)) for key, ending in FILES.items()}}]
    assert of_kind(told, "warning")[-1] == {"event": "warning", "image": image, "message": "Made by a fake."}


def test_options_reach_the_pipeline(capsys, scan, pipeline, tmp_path):
    image = scan()
    mask = scan("mask.nii.gz")
    ones = sitk.GetImageFromArray(np.ones((20, 32, 32), np.uint8))
    sitk.WriteImage(ones, mask)
    code, _, _ = run(capsys, "detect", image, "-o", tmp_path, "--modality", "swi", "--mask", mask, "--model", "mine",
                     "--operating-point", "sensitive", "--device", "cpu", "--improbable-regions")
    assert code == 0 and pipeline.models == ["mine"]
    call = pipeline.calls[0]
    assert (call.model, call.modality, call.operating_point, call.device) == ("the model", "swi", "sensitive", "cpu")
    assert call.improbable_regions
    assert call.mask.data.all()


def test_warnings_of_the_scan_are_told_once(capsys, scan, pipeline, tmp_path):
    image = scan()
    code, told = events(capsys, "detect", image, "-o", tmp_path / "out")
    sentences = [item["message"] for item in of_kind(told, "warning")]
    assert len(sentences) == len(set(sentences))


def test_one_bad_image_never_stops_the_others(capsys, scan, pipeline, tmp_path):
    good, missing, last = scan("a.nii.gz"), str(tmp_path / "missing.nii.gz"), scan("c.nii.gz")
    code, told = events(capsys, "detect", good, missing, last, "-o", tmp_path / "out")
    assert code == 2 and told[-1]["exit_code"] == 2
    assert [item["image"] for item in of_kind(told, "result")] == [good, last]
    error, = of_kind(told, "error")
    assert (error["image"], error["kind"]) == (missing, "input") and "missing.nii.gz" in error["message"]
    assert pipeline.models == ["default"], "the model is loaded once"


def test_every_image_is_read_once_and_the_first_one_while_torch_is_imported(capsys, scan, pipeline, tmp_path,
                                                                          monkeypatch):
    images, read, read_scan = [scan("a.nii.gz"), scan("b.nii.gz")], [], read_write.read_scan

    def noted(image):
        read.append((image, list(pipeline.models)))
        return read_scan(image)

    monkeypatch.setattr(read_write, "read_scan", noted)
    assert events(capsys, "detect", *images, "-o", tmp_path / "out")[0] == 0
    assert read == [(images[0], []), (images[1], ["default"])]


def test_a_first_image_that_cannot_be_read_is_told_in_its_turn(capsys, scan, pipeline, tmp_path):
    missing, good = str(tmp_path / "missing.nii.gz"), scan()
    code, told = events(capsys, "detect", missing, good, "-o", tmp_path / "out")
    assert code == 2 and [item["event"] for item in told[:2]] == ["progress", "error"]
    assert told[1]["image"] == missing and told[1]["kind"] == "input" and "does not exist" in told[1]["message"]
    assert [item["image"] for item in of_kind(told, "result")] == [good]


def test_what_is_imported_at_the_start_is_kept_from_the_garbage_collector():
    code = ("import gc, microbleeds.batch as batch\n"
            "with batch._kept_from_collector():\n    assert not gc.isenabled()\n"
            "assert gc.isenabled() and gc.get_freeze_count() > 1000")
    subprocess.run([sys.executable, "-c", code], cwd=ENGINE, check=True)


@pytest.mark.parametrize(("error", "kind", "code"), [
    (InputError("a.nii.gz is empty."), "input", 2),
    (ModelError("No."), "model", 2),
    (SettingsError("No."), "settings", 2),
    (MemoryError(), "memory", 1),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "memory", 1),
    (RuntimeError("itk::ERROR: Failed to allocate memory for image."), "memory", 1),
    (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "cuda_memory", 1),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), "cuda_memory", 1),
    (OSError(errno.ENOSPC, "No space left on device", "/o/x"), "input", 2),
    (ZeroDivisionError("division\nby zero"), "internal", 1),
    (FileNotFoundError("Models/x is missing from this installation"), "internal", 1),
])
def test_errors_have_a_kind_an_exit_code_and_one_sentence(error, kind, code, capsys, scan, pipeline, tmp_path):
    bad, good = scan("bad.nii.gz"), scan("good.nii.gz")
    pipeline.failures["bad"] = [error]
    exit_code, told = events(capsys, "detect", bad, good, "-o", tmp_path / "out")
    failed, = of_kind(told, "error")
    assert (exit_code, failed["kind"], failed["image"]) == (code, kind, bad)
    assert "\n" not in failed["message"] and failed["message"].endswith(".")
    assert len(of_kind(told, "result")) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) \
        == sorted("good" + ending for ending in FILES.values())


def test_our_fault_outranks_bad_input(capsys, scan, pipeline, tmp_path):
    bad = scan("bad.nii.gz")
    pipeline.failures["bad"] = [ZeroDivisionError()]
    assert run(capsys, "detect", bad, tmp_path / "missing.nii.gz", "-o", tmp_path / "out")[0] == 1


def test_traceback_only_with_debug(capsys, scan, pipeline, tmp_path):
    image = scan()
    for debug, expected in (([], False), (["--debug"], True)):
        pipeline.failures["a"] = [ZeroDivisionError()]
        _, out, err = run(capsys, "detect", image, "-o", tmp_path / "out", *debug)
        assert "our fault" in err and ("Traceback" in err) is expected and "Traceback" not in out


def test_cuda_memory_is_retried_on_the_cpu_but_not_behind_the_panels_back(capsys, scan, pipeline, tmp_path):
    image = scan()
    pipeline.failures["a"] = [RuntimeError("CUDA out of memory.")]
    code, _, err = run(capsys, "detect", image, "-o", tmp_path / "out")
    assert code == 0 and "trying again on the CPU" in err
    assert [call.device for call in pipeline.calls] == ["auto", "cpu"]
    pipeline.failures["a"] = [RuntimeError("CUDA out of memory.")]
    code, told = events(capsys, "detect", image, "-o", tmp_path / "out")
    assert code == 1 and [item["kind"] for item in of_kind(told, "error")] == ["cuda_memory"]
    assert len(pipeline.calls) == 3


def test_a_name_with_orders_to_the_terminal_stays_one_line(capsys, scan, pipeline, tmp_path):
    image = scan("a\n\x1b[31m\u202eb.nii.gz")
    pipeline.failures["a\n\x1b[31m\u202eb"] = [InputError("a\n\x1b[31m\u202eb.nii.gz is empty.")]
    code, _, err = run(capsys, "detect", image, "-o", tmp_path / "out", "--progress", "none")
    shown = r"a\n\x1b[31m\u202eb.nii.gz"
    assert code == 2 and err == f"{shown}: error: {shown} is empty.\n"


def test_what_a_message_quotes_is_cut_but_not_what_to_do(capsys, scan, pipeline, tmp_path):
    image = scan()
    pipeline.failures["a"] = [InputError(f"a.nii.gz holds {'x' * 10**6}; export it again.")]
    code, _, err = run(capsys, "detect", image, "-o", tmp_path / "out", "--progress", "none")
    assert code == 2 and len(err) < 1200 and err.startswith("a.nii.gz: error: a.nii.gz holds xxx")
    assert err.endswith("; export it again.\n")


def test_a_list_of_faults_keeps_its_lines(capsys, scan, pipeline, tmp_path):
    image = scan()
    pipeline.failures["a"] = [FaultList("Mend these.\n1 × cut off:\n  b\x07")]
    assert run(capsys, "detect", image, "-o", tmp_path / "out", "--progress", "none")[2] \
        == "a.nii.gz: error: Mend these.\n1 × cut off:\n  b\\x07\n"


def test_the_label_map_of_a_review_is_not_replaced(capsys, scan, pipeline, tmp_path):
    out = tmp_path / "out"
    assert run(capsys, "detect", scan("a.nii.gz"), "-o", out)[0] == 0
    (out / "a_desc-cmb_review.json").write_text("{}")
    (out / "a_desc-cmb_dseg.nii.gz").write_text("drawn by a reader")
    code, _, err = run(capsys, "detect", scan("a.nii.gz"), scan("b.nii.gz"), "-o", out, "--progress", "none")
    assert code == 2 and "a_desc-cmb_review.json is a reader's review" in err
    assert [call.stem for call in pipeline.calls] == ["a", "b"]
    assert (out / "a_desc-cmb_dseg.nii.gz").read_text() == "drawn by a reader"


def test_a_name_too_long_for_results_is_told_before_the_detection(capsys, scan, pipeline, tmp_path):
    image = scan("x" * 240 + ".nii.gz")
    code, told = events(capsys, "detect", image, "-o", tmp_path / "out")
    error, = of_kind(told, "error")
    assert code == 2 and "too long a name" in error["message"] and not pipeline.calls
    assert not list((tmp_path / "out").iterdir())


def test_same_stem_twice_is_refused_before_anything_starts(capsys, scan, pipeline, tmp_path):
    first, second = scan(), scan(folder=tmp_path / "other")
    code, told = events(capsys, "detect", first, second, "-o", tmp_path / "out")
    error, = of_kind(told, "error")
    assert code == 2 and error["image"] is None and error["kind"] == "input"
    assert first in error["message"] and second in error["message"]
    assert not pipeline.models and not (tmp_path / "out").exists()


def test_a_mask_fits_one_image_only(capsys, scan, pipeline, tmp_path):
    code, told = events(capsys, "detect", scan("a.nii.gz"), scan("b.nii.gz"), "-o", tmp_path, "--mask", "m.nii.gz")
    assert code == 2 and of_kind(told, "error")[0]["kind"] == "settings"


def test_a_folder_that_cannot_be_written_to(capsys, scan, pipeline, tmp_path):
    (tmp_path / "file").write_text("")
    code, told = events(capsys, "detect", scan(), "-o", tmp_path / "file" / "out")
    error, = of_kind(told, "error")
    assert code == 2 and error["kind"] == "input" and "choose another folder" in error["message"]
    assert not pipeline.models


def test_a_broken_model_is_told_once(capsys, scan, pipeline, tmp_path):
    code, told = events(capsys, "detect", scan("a.nii.gz"), scan("b.nii.gz"), "-o", tmp_path, "--model", "broken")
    error, = of_kind(told, "error")
    assert (code, error["kind"], error["image"]) == (2, "model", None)


def test_interrupt_ends_with_130_and_leaves_nothing(capsys, scan, pipeline, tmp_path):
    pipeline.failures["a"] = [KeyboardInterrupt()]
    code, told = events(capsys, "detect", scan(), scan("b.nii.gz"), "-o", tmp_path / "out")
    assert code == 130 and told[-1] == {"event": "done", "exit_code": 130}
    assert not list((tmp_path / "out").iterdir()) and len(pipeline.calls) == 1


def test_a_failure_while_writing_leaves_nothing_half_written(capsys, scan, pipeline, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    code, told = events(capsys, "detect", scan(), "-o", tmp_path / "out")
    assert code == 2 and "free space" in of_kind(told, "error")[0]["message"]
    assert not list((tmp_path / "out").iterdir())


def test_threads_are_set_before_torch_is_imported(capsys, scan, pipeline, tmp_path, monkeypatch):
    for name in cli.THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    seen = {}
    sys.modules["microbleeds.weights"].load_model = lambda name: seen.update(os.environ)
    run(capsys, "detect", scan(), "-o", tmp_path / "out", "--threads", "3")
    assert {seen[name] for name in cli.THREAD_VARIABLES} == {"3"}


def test_bar_mode_prints_a_result_line(capsys, scan, pipeline, tmp_path):
    code, out, err = run(capsys, "detect", scan(), "-o", tmp_path / "out")
    assert code == 0
    assert out == f"a.nii.gz: 1 microbleed found; report: {tmp_path / 'out' / 'a_desc-cmb_report.html'}\n"
    assert "Brain mask" in err


def test_demo_says_that_the_scan_is_simulated_and_where_to_look(capsys, scan, pipeline, tmp_path, monkeypatch):
    sample = scan("simulated_T2star.nii.gz")
    monkeypatch.setattr(cli, "resource_path", lambda name: {cli.SAMPLE: Path(sample)}[name])
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "demo")
    assert code == 0 and "simulated" in out and str(tmp_path / "cmbdetect-demo") in out
    assert (tmp_path / "cmbdetect-demo" / "simulated_T2star_desc-cmb_report.html").exists()


def test_demo_takes_the_users_own_scan(capsys, scan, pipeline, tmp_path):
    code, out, _ = run(capsys, "demo", scan("mine.nii.gz"), "-o", tmp_path / "out")
    assert code == 0 and "simulated" not in out and (tmp_path / "out" / "mine_desc-cmb_report.html").exists()


def test_demo_without_its_scan_is_our_fault(capsys, pipeline, tmp_path, monkeypatch):
    def missing(name):
        raise FileNotFoundError(f"{name} is missing from this installation")

    monkeypatch.setattr(cli, "resource_path", missing)
    code, _, err = run(capsys, "demo", "-o", tmp_path)
    assert code == 1 and "our fault" in err


def test_evaluate_prints_and_writes(capsys, scan, pipeline, tmp_path):
    run(capsys, "detect", scan(), "-o", tmp_path / "out")
    (tmp_path / "truth").mkdir()
    labels = sitk.ReadImage(str(tmp_path / "out" / "a_desc-cmb_dseg.nii.gz"))
    sitk.WriteImage(labels, str(tmp_path / "truth" / "a.nii.gz"))
    code, out, _ = run(capsys, "evaluate", "--predictions", tmp_path / "out", "--truth", tmp_path / "truth", "-o",
                       tmp_path / "figures")
    assert code == 0 and "Overlap rule" in out and "FROC, final" in out
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["evaluation.json", "evaluation.tsv"]


def test_evaluate_without_predictions_is_bad_input(capsys, tmp_path):
    code, out, err = run(capsys, "evaluate", "--predictions", tmp_path, "--truth", tmp_path)
    assert code == 2 and err.startswith("error: ") and not out


SLOW_DETECT = """
import sys, time, types
def detect(scan, model, *, progress, **options):
    progress("candidates", "Candidates", 0.1)
    time.sleep(60)
sys.modules["microbleeds.pipeline"] = types.SimpleNamespace(detect=detect)
sys.modules["microbleeds.weights"] = types.SimpleNamespace(DEFAULT_MODEL="m", load_model=str)
from microbleeds.cli import main
sys.exit(main(sys.argv[1:]))
"""


def start(scan, out, *options, code=SLOW_DETECT, of_interrupt="default_int_handler"):
    """Start a detection that takes a minute, and wait until it is in its pipeline.

    It handles SIGINT as told: what a shell runs in the background, tests too, would hand on that it ignores it.
    """
    code = f"import signal\nsignal.signal(signal.SIGINT, signal.{of_interrupt})\n{code}"
    process = subprocess.Popen([sys.executable, "-c", code, "detect", scan, "-o", str(out), "--progress", "json",
                                *options], cwd=ENGINE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if '"candidates"' in line:
            return process
    raise AssertionError(f"the child ended with {process.wait()}")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_cancel_with_130(number, scan, tmp_path):
    process = start(scan(), tmp_path / "out")
    process.send_signal(number)
    rest, _ = process.communicate(timeout=10)
    assert process.returncode == 130 and json.loads(rest.splitlines()[-1]) == {"event": "done", "exit_code": 130}
    assert not list((tmp_path / "out").iterdir())


WRITING = """
    from pathlib import Path
    from microbleeds.read_write import staging_folder
    with staging_folder(Path(sys.argv[4])) as staging:
        (staging / "half").write_text("half")
        for _ in range(600):
            time.sleep(0.05)
"""


@pytest.mark.parametrize("of_interrupt", ["default_int_handler", "SIG_IGN"])
@pytest.mark.parametrize("work", ["    time.sleep(60)\n", WRITING], ids=["deep in a library", "writing"])
def test_closed_stdin_cancels_within_2_seconds_and_leaves_nothing(work, of_interrupt, scan, tmp_path):
    process = start(scan(), tmp_path / "out", "--exit-with-stdin",
                    code=SLOW_DETECT.replace("    time.sleep(60)\n", work), of_interrupt=of_interrupt)
    time.sleep(0.3)
    began = time.monotonic()
    process.stdin.close()
    process.wait(timeout=10)
    process.stdout.close()
    assert process.returncode == 130 and time.monotonic() - began < 2
    assert not list((tmp_path / "out").iterdir())


def test_open_stdin_does_not_keep_the_process(scan, tmp_path):
    """A normal end with the watching thread still waiting must be a clean exit."""
    code = SLOW_DETECT.replace("time.sleep(60)", "raise ValueError")
    process = subprocess.Popen([sys.executable, "-c", code, "detect", scan(), "-o", str(tmp_path / "out"),
                                "--exit-with-stdin"], cwd=ENGINE, stdin=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    process.wait(timeout=20)
    err = process.stderr.read()
    process.stdin.close()
    process.stderr.close()
    assert process.returncode == 1 and "Fatal" not in err


def test_a_reader_of_stdout_that_goes_away_cancels(scan, tmp_path, monkeypatch):
    code = SLOW_DETECT.replace("time.sleep(60)", "import os; sys.stdin.read(); progress('candidates', 'x', 0.2)")
    process = subprocess.Popen([sys.executable, "-c", code, "detect", scan(), "-o", str(tmp_path / "out"), "--progress",
                                "json"], cwd=ENGINE, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    process.stdin.close()
    process.wait(timeout=20)
    err = process.stderr.read()
    process.stderr.close()
    assert process.returncode == 130 and "Traceback" not in err
    assert batch.CANCELLED == 130
