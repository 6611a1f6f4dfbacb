"""The commands ``cmbdetect export`` and ``cmbdetect report``: reviewed scans in the forms that others read.

Modules that import numpy or more are imported where they are used, so that ``cmbdetect --help`` is instant.
"""

import argparse
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from .batch import OK, make_folder
from .command_options import add_telling_options
from .errors import SettingsError
from .progress import Reporter

FORMATS = {
    "page": ("report (HTML)", "report as HTML"), "pdf": ("report (PDF)", "report as PDF (needs reportlab)"),
    "tables": ("tables", "findings and counts as TSV and CSV"),
    "points": ("points", "points for 3D Slicer (.mrk.json, .fcsv)"),
    "segmentation": ("segmentation", "segmentation for 3D Slicer (.seg.nrrd)"),
    "labels": ("label map", "label map on the scan's grid (.nii.gz)"), "bids": ("BIDS derivative", "BIDS derivative"),
    "dicom": ("DICOM SEG and SR", "DICOM SEG and SR (needs highdicom, and the scan as DICOM)"),
    "training": ("training set", "training set for cmbdetect finetune"),
    "nnunet": ("nnU-Net data set", "nnU-Net raw data set")}
"""What each form is called when it is written, and for the help text. As in `export.formats`, which would take long to
import for that; a test compares the two."""


def add_export_commands(commands: argparse._SubParsersAction, exit_with_stdin: Callable[[], None]) -> None:
    """Add the commands; `exit_with_stdin` ends the process when standard input closes."""
    export = commands.add_parser("export", help="write reviewed scans as reports, tables, BIDS, DICOM, training labels")
    _add_inputs(export)
    export.add_argument("--formats", nargs="+", choices=tuple(FORMATS), default=(), metavar="FORMAT",
                        help="; ".join(f"{name}: {text}" for name, (_, text) in FORMATS.items()))
    export.add_argument("--cohort-table", type=Path, metavar="FILE",
                        help="cumulative .tsv or .csv of counts that gets a row for each scan; several people may "
                             "append to it at once")
    export.add_argument("--nnunet-number", type=int, default=501, metavar="N",
                        help="number of the nnU-Net data set (default: %(default)s)")
    export.set_defaults(command=_export)

    report = commands.add_parser("report", help="write the report of a reviewed scan as HTML, and as PDF")
    _add_inputs(report)
    report.add_argument("--pdf", action="store_true", help="as PDF too (needs reportlab)")
    report.set_defaults(command=_report, cohort_table=None, nnunet_number=501)
    for parser in (export, report):
        parser.set_defaults(exit_with_stdin_hook=exit_with_stdin)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="reviewed scans: files, or DICOM series folders")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the files")
    parser.add_argument("--review", type=Path, metavar="FILE", help="review of the only scan (default: the file "
                        "S_desc-cmb_review.json beside the scan S)")
    parser.add_argument("--results", type=Path, metavar="DIR", help="folder with reviews or results of detections, if "
                        "they do not lie beside the scans")
    parser.add_argument("--baseline", metavar="IMAGE", help="an earlier scan of the only subject: the report then says "
                        "what is new")
    parser.add_argument("--baseline-review", type=Path, metavar="FILE", help="its review")
    parser.add_argument("--answers", type=Path, metavar="FILE", help="table of a reader's answers on ambiguous pairs "
                        "(default: S_desc-cmb_pairs.tsv beside the review); a comparison with open questions writes "
                        "one to fill in into DIR")
    parser.add_argument("--unreviewed", action="store_true",
                        help="take the detector's findings where there is no review; they are marked as unreviewed")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    parser.add_argument("--exit-with-stdin", action="store_true", help="cancel when standard input closes")
    add_telling_options(parser)


def _report(options: argparse.Namespace, reporter: Reporter) -> int:
    options.formats = ("page", "pdf") if options.pdf else ("page",)
    return _export(options, reporter)


def _export(options: argparse.Namespace, reporter: Reporter) -> int:
    if options.exit_with_stdin:
        threading.Thread(target=options.exit_with_stdin_hook, daemon=True).start()
    if options.answers and not options.baseline:
        raise SettingsError("Answers belong to a comparison; name the earlier scan with --baseline too.")
    if len(options.images) > 1 and (options.review or options.baseline):
        raise SettingsError("A review or a baseline belongs to one scan; export the scans one by one.")
    from .case_files import case_of, find_review, read_case
    from .export.formats import Wish, export_cases
    from .export.pair_answers import table_beside
    from .read_write import read_scan

    wish = Wish(tuple(dict.fromkeys(options.formats)), options.output, options.cohort_table, options.unreviewed,
                options.overwrite, options.nnunet_number, options.answers)
    make_folder(options.output)
    sources = [Path(image) for image in options.images]
    cases = []
    for number, source in enumerate(sources):
        reporter.progress(str(source), "read", "Reading", 0.3 * number / len(sources))
        scan = read_scan(source)
        review = options.review or find_review(scan, options.results)
        if options.baseline and not options.answers and review and table_beside(review).exists():
            wish = replace(wish, answers=table_beside(review))
        case = case_of(scan, review, options.results)
        cases.append(case)
        for sentence in case.warnings:
            reporter.warning(str(source), sentence)
    baseline = read_case(Path(options.baseline), options.baseline_review, options.results) if options.baseline else None
    image = str(sources[-1])
    exported = export_cases(cases, sources, wish, baseline, lambda message, fraction: reporter.progress(
        image, "write", message, 0.3 + 0.7 * fraction))
    for sentence in exported.warnings:
        reporter.warning(image, sentence)
    if options.progress == "json":
        count = sum(len(case.microbleeds) for case in cases)
        reporter.result(image, exported.files, count, count, [asdict(one) for one in exported.questions])
    else:
        for name, path in exported.files.items():
            reporter.say(f"{FORMATS[name][0] if name in FORMATS else name.replace('_', ' ')}: {path}")
    return OK
