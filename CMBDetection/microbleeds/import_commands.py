"""The command ``cmbdetect import``: a review made elsewhere, taken over into that of a scan.

Modules that import numpy or more are imported where they are used, so that ``cmbdetect --help`` is instant.
"""

import argparse
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .batch import OK
from .command_options import add_telling_options
from .progress import Reporter

if TYPE_CHECKING:
    from .import_review import ImportPlan
    from .review_log import Event
    from .stored_review import StoredReview

MINE, THEIRS = "mine", "theirs"


def add_import_command(commands: Any) -> None:
    """Add the command to the sub-commands of argparse."""
    parser = commands.add_parser(
        "import", help="take over a review made elsewhere into that of a scan",
        description="What FILE says and nobody here has said is taken; what contradicts is listed, and decided by "
                    "--take. Everything goes into the log of the review, so it can be undone in the panel. Close the "
                    "scan there first.")
    parser.add_argument("image", metavar="SCAN", help="scan: file, or DICOM series folder")
    parser.add_argument("file", type=Path, metavar="FILE", help="label map, table (.tsv, .csv), points (.mrk.json, "
                        ".fcsv), or our review or findings file (.json)")
    parser.add_argument("--review", type=Path, metavar="FILE", help="review of the scan (default: the file "
                        "S_desc-cmb_review.json beside the scan S, which is begun if there is none)")
    parser.add_argument("--results", type=Path, metavar="DIR", help="folder with the review or the results of the "
                        "detection, if they do not lie beside the scan")
    parser.add_argument("--reader", default="", metavar="NAME", help="who imports, for the log")
    parser.add_argument("--take", choices=(MINE, THEIRS), help="what stands where the two contradict each other "
                        "(default: what is said here, with a warning)")
    parser.add_argument("--dry-run", action="store_true", help="only tell, write nothing")
    add_telling_options(parser)
    parser.set_defaults(command=_import)


def _import(options: argparse.Namespace, reporter: Reporter) -> int:
    from .import_files import read_foreign, with_grown_regions
    from .import_review import events_of, match_foreign
    from .read_write import read_scan
    from .review_log import now
    from .stored_review import open_review, with_events, write_stored

    image = options.image
    reporter.progress(image, "read", "Reading", 0.0)
    scan = read_scan(image)
    for sentence in scan.warnings:
        reporter.warning(image, sentence)
    stored = open_review(scan, options.review, options.results)
    foreign = read_foreign(options.file, stored.image, scan.path.name, scan_sha256=scan.sha256)
    reporter.progress(image, "match", "Matching", 0.5)
    plan = match_foreign(stored.state.items, with_grown_regions(foreign, stored.image, stored.is_bright), stored.labels)
    take = plan.conflicts if options.take == THEIRS else ()
    events = events_of(plan, options.reader, now(), stored.state.next_id, take)
    longer = with_events(stored, events, options.reader)
    reporter.progress(image, "write", "Writing", 0.9)
    files = write_stored(longer) if events and not options.dry_run else {}
    _tell(plan, stored, longer, events, files, options, reporter)
    return OK


def _tell(plan: "ImportPlan", stored: "StoredReview", longer: "StoredReview", events: Collection["Event"],
          files: dict[str, Path], options: argparse.Namespace, reporter: Reporter) -> None:
    from .review_files import ACCEPTED
    from .review_log import shown_items

    lines = list(_lines(plan, stored, longer, options))
    if plan.conflicts and options.take is None:
        count = f"{len(plan.conflicts)} conflict{'s' if len(plan.conflicts) > 1 else ''}"
        reporter.warning(options.image, f"{count}: what is said here is kept; --take theirs takes what "
                                        f"{options.file.name} says.")
    if options.progress == "json":
        for line in lines:
            if line.startswith("conflict"):
                reporter.warning(options.image, line)
        shown = shown_items(longer.state, longer.sidecar.threshold)
        reporter.result(options.image, files, sum(item.verdict == ACCEPTED for item in shown), len(shown))
        return
    for line in lines:
        reporter.say(line)
    if files:
        reporter.say(f"review: {files['review']}")
    else:
        reporter.say("Nothing was written." if events else "There is nothing to write.")


def _lines(plan: "ImportPlan", stored: "StoredReview", longer: "StoredReview",
           options: argparse.Namespace) -> Iterator[str]:
    """Yield one line for every finding and every conflict, with what is said on both sides."""
    from .import_review import said_of
    from .review_log import ADDED, shown_items

    items = {item.id: item for item in stored.state.items}

    def named(number: int, word: str) -> str:
        item = longer.state.item(number)
        return f"{word}: finding {number} at R, A, S = {', '.join(f'{mm:.1f}' for mm in item.position_ras)} mm"

    changed = {change.finding for change in plan.changes}
    contested = {conflict.own[0] for conflict in plan.conflicts if not conflict.adds}
    for match in plan.matched:
        item, foreign = items[match.own], match.foreign
        if match.own in changed or match.own not in contested:
            word = "taken" if match.own in changed else "same" if item.verdict == foreign.meant else "kept"
            yield f"{named(item.id, word)}: {said_of(item)} here, {said_of(foreign)} there"
    added = [event.finding for event in longer.sidecar.events[len(stored.sidecar.events):] if event.action == ADDED]
    for number, foreign in zip(added, plan.additions, strict=False):
        yield f"{named(number, 'added')}: {said_of(foreign)} there"
    shown = {item.id for item in shown_items(stored.state, stored.sidecar.threshold)}
    for number in plan.missing:
        if number in shown:
            yield f"{named(number, 'missing')}: {said_of(items[number])} here, not in {options.file.name}"
    stands = "Theirs is taken." if options.take == THEIRS else "What is said here is kept."
    for conflict in plan.conflicts:
        yield f"{named(conflict.own[0], 'conflict')}: {conflict.sentence} {stands}"
