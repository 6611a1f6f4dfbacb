"""The command ``cmbdetect``: detect, demo, cohort, export, report, import, evaluate, simulate, train, and more.

Exit codes: 0 fine, 2 bad input, 1 our fault (or the machine's: out of memory), 130 cancelled. Of several scans the
failed ones decide. Modules that import torch or numpy are imported where they are used, so that ``--help`` is instant.
"""

import _thread
import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .batch import CANCELLED, OK, THREAD_VARIABLES, Job, make_folder, run_scans, tell
from .cohort_commands import add_cohort_command
from .command_options import (
    add_debug_option,
    add_device_option,
    add_modality_option,
    add_model_options,
    add_telling_options,
    positive,
)
from .export_commands import add_export_commands
from .import_commands import add_import_command
from .models_command import add_models_command
from .progress import Reporter, make_reporter
from .resources import resource_path
from .settings import MODALITIES
from .training_commands import add_training_commands

SAMPLE = "Sample/simulated_T2star.nii.gz"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``cmbdetect`` with the given arguments, by default those of the process, and return the exit code."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    previous = signal.signal(signal.SIGTERM, _cancel)
    try:
        return _run(options, make_reporter(options.progress))
    except BrokenPipeError:
        # whoever read our output is gone; this keeps Python from complaining about it once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CANCELLED
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run(options: argparse.Namespace, reporter: Reporter) -> int:
    try:
        exit_code = options.command(options, reporter)
    except KeyboardInterrupt:
        exit_code = CANCELLED
    except BrokenPipeError:
        raise
    except Exception as error:
        exit_code = tell(error, None, options.debug, reporter)
    reporter.done(exit_code)
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cmbdetect", description="Find cerebral microbleeds on T2*-GRE, SWI and QSM. Not for clinical use.")
    parser.add_argument("--version", action="version", version=f"cmbdetect {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    detect = commands.add_parser("detect", help="detect microbleeds in one or more scans")
    detect.add_argument("images", nargs="+", metavar="IMAGE", help="NIfTI, NRRD or MHA file, or DICOM series folder")
    detect.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    _add_detection_options(detect)
    detect.set_defaults(command=_detect)

    demo = commands.add_parser("demo", help="detect microbleeds in the bundled simulated scan, or in yours")
    demo.add_argument("images", nargs="*", metavar="IMAGE", help="scans of your own")
    demo.add_argument("-o", "--output", type=Path, default=Path("cmbdetect-demo"), metavar="DIR",
                      help="folder for the results (default: %(default)s)")
    _add_detection_options(demo)
    demo.set_defaults(command=_demo)

    add_cohort_command(commands)
    add_export_commands(commands, _exit_with_stdin)
    add_import_command(commands)

    evaluate = commands.add_parser("evaluate", help="compare results with a reference")
    evaluate.add_argument("--predictions", type=Path, required=True, metavar="DIR",
                          help="folder with S_desc-cmb_dseg.nii.gz and S_desc-cmb_findings.json of each scan S")
    evaluate.add_argument("--truth", type=Path, required=True, metavar="DIR|TABLE",
                          help="folder with a label map of each scan (S_desc-cmb_truth.nii.gz, S_dseg.nii.gz or "
                               "S.nii.gz), a data set as cmbdetect simulate writes it, or a TSV or CSV table of points "
                               "(subject, R_mm, A_mm, S_mm)")
    evaluate.add_argument("-o", "--output", type=Path, metavar="DIR",
                          help="folder for evaluation.tsv and evaluation.json")
    add_debug_option(evaluate)
    evaluate.set_defaults(command=_evaluate, progress="none")

    simulate = commands.add_parser("simulate", help="make scans with known microbleeds and mimics, by physics")
    _add_simulation_options(simulate)
    simulate.set_defaults(command=_simulate)

    implant = commands.add_parser("implant", help="put simulated microbleeds and mimics into scans of your own")
    _add_implant_options(implant)
    implant.set_defaults(command=_implant)

    add_training_commands(commands)
    add_models_command(commands)
    return parser


def _add_simulation_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--count", type=int, default=1, metavar="N", help="subjects (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same bytes (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the data set; an "
                        "interrupted run goes on there")
    parser.add_argument("--modality", choices=("all", *MODALITIES), default="all", help="images to write: all of them "
                        "from one multi-echo scan, or one kind with its own protocols (default: %(default)s)")
    parser.add_argument("--labels", type=Path, metavar="FILE|DIR", help="FreeSurfer-coded label map, or a folder of "
                        "them (default: those that come with the software)")
    subject = parser.add_argument_group("subject (drawn where nothing is given)")
    subject.add_argument("--bleeds", type=int, metavar="N", help="microbleeds of each subject")
    subject.add_argument("--prevalence", type=float, default=0.6, metavar="P",
                         help="share of subjects with microbleeds (default: %(default)s)")
    subject.add_argument("--mimics", type=float, default=1.0, metavar="RATE",
                         help="how often focal mimics occur, 1 as in older adults (default: %(default)s)")
    subject.add_argument("--brain-only", action="store_true", help="no skull, no scalp")
    protocol = parser.add_argument_group("protocol (drawn where nothing is given)")
    protocol.add_argument("--field", type=float, dest="field_tesla", metavar="T", help="field strength")
    protocol.add_argument("--echo-times", type=float, nargs="+", dest="echo_times_ms", metavar="MS",
                          help="echo times, rising")
    protocol.add_argument("--in-plane", type=float, dest="in_plane_mm", metavar="MM", help="voxel size in plane")
    protocol.add_argument("--slice", type=float, dest="slice_mm", metavar="MM", help="slice thickness")
    protocol.add_argument("--gap", type=float, dest="gap_mm", metavar="MM", help="gap between slices")
    protocol.add_argument("--matrix", type=int, nargs=3, metavar=("I", "J", "K"), help="voxels; default: the head")
    protocol.add_argument("--snr", type=float, dest="signal_to_noise", metavar="RATIO",
                          help="median brain signal of the last echo over the noise")
    protocol.add_argument("--motion", type=float, dest="motion_mm", metavar="MM",
                          help="size of the head's motion during the scan")
    parser.add_argument("--jobs", type=positive, metavar="N", help="processes (default: as cores and memory allow)")
    add_telling_options(parser)


def _add_detection_options(parser: argparse.ArgumentParser) -> None:
    add_modality_option(parser)
    parser.add_argument("--mask", metavar="FILE", help="brain mask on the grid of the scan; one scan only")
    add_model_options(parser)
    add_device_option(parser)
    parser.add_argument("--threads", type=positive, metavar="N", help="processor cores to use (default: all)")
    parser.add_argument("--exit-with-stdin", action="store_true", help="cancel when standard input closes")
    add_telling_options(parser)


def _add_implant_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="scans, best without microbleeds of their own")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    add_modality_option(parser)
    parser.add_argument("--mask", metavar="FILE", help="brain mask on the grid of the scan; one scan only")
    parser.add_argument("--bleeds", type=int, default=5, metavar="N", help="microbleeds (default: %(default)s)")
    parser.add_argument("--mimics", type=int, default=3, metavar="N", help="mimics (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same implants (default: %(default)s)")
    parser.add_argument("--echo-time", type=float, metavar="MS", help="where the scan does not say it")
    parser.add_argument("--field", type=float, metavar="T", help="field strength, where the scan does not say it")
    add_telling_options(parser)


def _detect(options: argparse.Namespace, reporter: Reporter) -> int:
    if options.exit_with_stdin:
        threading.Thread(target=_exit_with_stdin, daemon=True).start()
    if options.threads:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(options.threads)))
    job = Job(folder=options.output, model=options.model, modality=options.modality,
              operating_point=options.operating_point, improbable_regions=options.improbable_regions,
              device=options.device, mask=options.mask, retry_on_cpu=options.progress != "json", debug=options.debug)
    return run_scans(options.images, job, reporter)


def _demo(options: argparse.Namespace, reporter: Reporter) -> int:
    if not options.images:
        options.images = [str(resource_path(SAMPLE))]
        reporter.say("The bundled scan is simulated; it is not a patient's.")
    exit_code = _detect(options, reporter)
    if exit_code == OK:
        reporter.say(f"All results are in {options.output.resolve()}; open the report in a browser.")
    return exit_code


def _evaluate(options: argparse.Namespace, reporter: Reporter) -> int:
    from .evaluation.evaluate import evaluate_folders, text_tables, write_evaluation

    evaluation = evaluate_folders(options.predictions, options.truth)
    print(text_tables(evaluation))
    if options.output:
        make_folder(options.output)
        write_evaluation(evaluation, options.output)
    return OK


_PROTOCOL_OPTIONS = ("field_tesla", "echo_times_ms", "in_plane_mm", "slice_mm", "gap_mm", "matrix", "signal_to_noise",
                     "motion_mm")


def _simulate(options: argparse.Namespace, reporter: Reporter) -> int:
    from .simulation.anatomy import carried_anatomies, find_label_maps
    from .simulation.data_set import make_data_set, plan_cases
    from .simulation.subject import SubjectSettings

    given = {name: getattr(options, name) for name in _PROTOCOL_OPTIONS if getattr(options, name) is not None}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    labels = find_label_maps(options.labels) if options.labels else carried_anatomies()
    subject = SubjectSettings(options.bleeds, options.prevalence, options.mimics, not options.brain_only)
    plans = plan_cases(options.count, options.seed, labels, options.modality, subject, **given)
    make_folder(options.output)
    make_data_set(plans, options.output, options.jobs, reporter)
    reporter.say(f"{len(plans)} simulated {'scan is' if len(plans) == 1 else 'scans are'} in "
                 f"{options.output.resolve()}; README there says what the files are.")
    return OK


def _implant(options: argparse.Namespace, reporter: Reporter) -> int:
    from .simulation.implant_files import ImplantJob, implant_files

    job = ImplantJob(options.output, options.modality, options.mask, options.bleeds, options.mimics, options.seed,
                     options.echo_time, options.field, options.debug)
    return implant_files(options.images, job, reporter)


def _cancel(signal_number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _exit_with_stdin() -> None:
    """Cancel when standard input closes: that of a child whose parent was killed does, whatever killed it."""
    # os.read, because a thread inside sys.stdin.read makes Python abort at a normal exit
    while os.read(0, 4096):
        pass
    # the main thread gets a second to remove what it was writing, unless it is deep in a library
    # not SIGINT, which programs started in the background of a shell ignore, and their children with them
    _thread.interrupt_main(signal.SIGTERM)
    time.sleep(1)
    os._exit(CANCELLED)
