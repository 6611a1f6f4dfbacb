"""A scripted reading of the sample scan with the real engine, by key, killed in the middle and gone on with.

    python Testing/read_sample.py [--pictures DIR] [--slicer SLICER]

Ten findings are judged by a reader who knows the truth of the simulated scan; one is added, two actions are undone, the
process is killed; a second one goes on where the first stopped and ends the reading. Exit code 0 if every count on the
way is as it must be. ``--slicer`` uses a real Slicer instead of the headless one (keys are then pressed by
``xdotool``); ``--pictures`` keeps a picture of each state, as README shows them (the repository's: ``--pictures
Resources/Screenshots``).
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "CMBDetection" / "Resources" / "Sample" / "simulated_T2star.nii.gz"
TRUTH = SAMPLE.with_name("simulated_T2star_desc-cmb_truth.nii.gz")
PART, FOLDER, PICTURES = "READING_PART", "READING_FOLDER", "READING_PICTURES"
DETECTION_SECONDS, FINDINGS = 300, 10
NEAR_MM = 5
"""A finding nearer to the centre of a microbleed of the truth is that microbleed."""
MINERALISED = ("basal ganglia", "thalamus", "brainstem", "cerebellum")
"""Regions whose nuclei are full of iron; elsewhere what is no microbleed is said to be a vessel."""


# Outside of Slicer


def run(options):
    """Read in one Slicer that is killed, and go on in another; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(SAMPLE, folder)
        first, second = (_slicer(options, part, folder) for part in ("read", "go on"))
    ok = first not in (0, 1) and second == 0
    print(f"Scripted reading: {'as expected' if ok else 'WRONG'} (killed: {first}, gone on: {second}).")
    return 0 if ok else 1


def _slicer(options, part, folder):
    start = ([options.slicer, "--no-splash"] if options.slicer else [sys.executable, "-m", "Headless"])
    command = [*start, "--testing", "--additional-module-paths", str(ROOT / "CMBDetection"),
               "--python-script", str(Path(__file__).resolve())]
    environment = {**os.environ, PART: part, FOLDER: folder, PICTURES: options.pictures or ""}
    if not options.slicer:
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "Testing"), str(ROOT / "CMBDetection")])
        environment.setdefault("QT_QPA_PLATFORM", "offscreen")
    return subprocess.run(command, env=environment, check=False, timeout=2 * DETECTION_SECONDS).returncode


def main():
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=os.path.abspath, metavar="DIR", help="keep a picture of each state here")
    parser.add_argument("--slicer", metavar="FILE", help="a real Slicer (default: the headless one)")
    return run(parser.parse_args())


# Inside of Slicer


class Reading:
    """The panel, and a reader with keyboard, crosshair and camera."""

    def __init__(self):
        import slicer

        self.slicer = slicer
        self.panel = slicer.util.getModuleWidget("CMBDetection").panel
        self.window = _window(slicer, self.panel)
        slicer.util.selectModule("CMBDetection")
        self.folder = Path(os.environ[FOLDER])
        self.panel.ui.readerEdit.setText("AB")
        self.panel.review._onReaderEdited()

    def press(self, *keys):
        """Press keys as a keyboard does."""
        for key in keys:
            if hasattr(self.window, "save"):
                from Headless import keyboard

                keyboard.press(key)
            else:
                self.slicer.app.processEvents()
                subprocess.run(["xdotool", "key", key.lower()], check=True)
                time.sleep(0.2)
            self.slicer.app.processEvents()

    def picture(self, name):
        """Keep a picture of the window."""
        folder = os.environ[PICTURES]
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            path = str(Path(folder) / f"{name}.png")
            for _round in range(5):
                self.slicer.app.processEvents()
            if hasattr(self.window, "save"):
                self.window.save(path)
            else:
                self.window.grab().save(path)

    def load(self):
        """Load the scan and choose it."""
        volume = self.slicer.util.loadVolume(str(self.folder / SAMPLE.name))
        self.panel.ui.inputSelector.setCurrentNode(volume)
        return volume

    def detect(self):
        """Detect with the real engine."""
        self.panel.ui.detectButton.click()
        end = time.monotonic() + DETECTION_SECONDS
        while self.panel.ui.detectButton.text != "Detect":
            self.slicer.app.processEvents()
            time.sleep(0.01)
            assert time.monotonic() < end, "the detection takes too long"
        assert self.session is not None, self.panel.ui.messageLabel.text

    @property
    def session(self):
        return self.panel.review.session

    def numbers(self):
        """Return the ids of the findings in the order of the table."""
        table = self.panel.ui.findingsTable
        return [int(table.item(row, 0).text()) for row in range(table.rowCount)]

    def pointAt(self, voxel):
        """Put the crosshair on a voxel (i, j, k)."""
        from CMBDetectionLib.volumeNodes import volumeOf
        from microbleeds.geometry import voxel_to_ras

        place = voxel_to_ras(volumeOf(self.session.volumeNode), voxel)
        self.slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").SetCrosshairRAS(*place)

    def truth(self):
        """Return the microbleeds of the simulated scan as arrays (n, 3) of voxels (i, j, k)."""
        import numpy as np
        from CMBDetectionLib.findingsOutline import readRegions

        labels = readRegions(self.session.volumeNode, TRUTH, {number: number for number in range(1, 100)})
        found = (np.argwhere(labels == number)[:, ::-1] for number in range(1, int(labels.max()) + 1))
        return [voxels for voxels in found if len(voxels)]

    def areTrue(self):
        """Return by the id of a finding whether it is a microbleed of the truth."""
        import numpy as np

        centres = np.array([self.rasOf(voxels.mean(axis=0)) for voxels in self.truth()])
        return {item.id: bool(np.linalg.norm(centres - item.position_ras, axis=1).min() < NEAR_MM)
                for item in self.session.items}

    def rasOf(self, voxel):
        """Return the place of a voxel (i, j, k) of the scan, RAS mm."""
        from CMBDetectionLib.volumeNodes import volumeOf
        from microbleeds.geometry import voxel_to_ras

        return voxel_to_ras(volumeOf(self.session.volumeNode), voxel)

    def judge(self, number, withReason=True):
        """Press the keys of a verdict on the current finding: what the truth says."""
        assert self.session.current == number, f"{self.session.current} is shown instead of {number}"
        if self.areTrue()[number]:
            self.press("A")
            return
        place = self.session.places().get(number)
        self.press("X", *(("3" if place is not None and place.region in MINERALISED else "1",) if withReason else ()))

    def expect(self, judged, possible, added=0):
        """Compare the counts of the panel with what they must be once these findings are judged."""
        true = self.areTrue()
        accepted = sum(true[number] for number in judged) + added
        many = f" ({possible} possible)" if possible else ""
        wanted = f"{accepted} accepted{many}, {len(judged) + added - accepted} rejected, {FINDINGS - len(judged)} open"
        told = self.panel.ui.summaryLabel.text
        assert told.endswith(wanted), f"the panel says {told!r}, expected {wanted!r}"
        print(f"  {told}", flush=True)
        return accepted


def _window(slicer, panel):
    if slicer.util.mainWindow() is not None:
        return slicer.util.mainWindow()
    from Headless.screenshot import SlicerWindow

    return SlicerWindow(slicer.app, panel.widget)


def read(reading):
    """Judge ten findings, add one, undo twice, and die."""
    ui = reading.panel.ui
    reading.picture("1-start")
    reading.load()
    reading.detect()
    probabilities = sorted((item.probability for item in reading.session.state.items), reverse=True)
    assert len(probabilities) > FINDINGS, f"only {len(probabilities)} candidates"
    reading.session.setThreshold((probabilities[FINDINGS - 1] + probabilities[FINDINGS]) / 2)
    ui.findingsTable.selectRow(0)
    reading.expect([], 0)
    reading.picture("2-detected")
    order, skipped = reading.numbers(), 6
    for number in order[:4]:
        reading.judge(number)
    reading.expect(order[:4], 0)
    ui.findingsTable.selectRow(2)
    reading.press("O")
    ui.findingsTable.selectRow(4)
    reading.expect(order[:4], 1)
    reading.picture("3-verdicts")
    reading.press("J")
    reading.picture("4-probe")
    reading.press("J")
    for place in range(4, FINDINGS):
        if place == skipped:
            reading.press("S")
        else:
            # the last action is undone below, and must be the verdict itself
            reading.judge(order[place], withReason=place < FINDINGS - 1)
    judged = order[:skipped] + order[skipped + 1:]
    reading.expect(judged, 1)
    reading.pointAt(_missed(reading))
    reading.press("I")
    reading.expect(judged, 1, added=1)
    reading.picture("5-added")
    reading.press("Z", "Z")
    reading.expect(judged[:-1], 1)
    os.kill(os.getpid(), signal.SIGKILL)


def _missed(reading):
    """Return the voxel (i, j, k) of a simulated microbleed that is not on screen, of several the largest."""
    import numpy as np
    from CMBDetectionLib.volumeNodes import volumeOf

    data = volumeOf(reading.session.volumeNode).data
    best = (0, None)
    for voxels in reading.truth():
        darkest = voxels[np.argmin(data[tuple(voxels.T)])]
        away = [np.linalg.norm(reading.rasOf(darkest) - item.position_ras) for item in reading.session.items]
        if min(away) > NEAR_MM:
            best = max(best, (len(voxels), tuple(darkest.tolist())))
    return best[1]


def goOn(reading):
    """Go on with the reading that was killed, and end it."""
    from microbleeds.review_files import read_review

    ui = reading.panel.ui
    reading.load()
    assert "8 judged" in ui.summaryLabel.text, ui.summaryLabel.text
    reading.picture("6-resume")
    ui.resumeButton.click()
    assert reading.session.current == reading.numbers()[9], "not at the finding where the first reading stopped"
    order, skipped = reading.numbers()[:FINDINGS], 6
    judged = order[:skipped] + order[skipped + 1:]
    reading.expect(judged[:-1], 1)
    reading.press("Y", "Y")
    reading.expect(judged, 1, added=1)
    ui.findingsTable.selectRow(skipped)
    reading.judge(order[skipped])
    accepted = reading.expect(order, 1, added=1)
    ui.tabs.setCurrentWidget(ui.settingsTab)
    ui.logButton.click()
    reading.picture("7-keys")
    reading.panel.workList.open(reading.folder)
    ui.tabs.setCurrentWidget(ui.casesTab)
    reading.picture("8-cases")
    review = read_review(reading.folder / "simulated_T2star_desc-cmb_review.json")
    verdicts = [finding.verdict for finding in review.findings]
    assert (verdicts.count("accepted"), len(verdicts)) == (accepted, FINDINGS + 1), verdicts
    assert "undecided" not in verdicts, verdicts
    assert sum(finding.added_by_reader for finding in review.findings) == 1
    log = (reading.folder / "simulated_T2star_desc-cmb_log.tsv").read_text(encoding="utf-8").splitlines()
    actions = [line.split("\t")[2] for line in log[1:]]
    assert (actions.count("undone"), actions.count("redone"), actions.count("skipped")) == (2, 2, 1), actions


def inside():
    """Do the part of the reading that the environment asks for, and leave Slicer."""
    import slicer

    reading = Reading()
    try:
        (read if os.environ[PART] == "read" else goOn)(reading)
        code = 0
    except Exception as error:
        print(f"  WRONG: {type(error).__name__}: {error}", flush=True)
        code = 1
    if hasattr(reading.window, "save"):
        reading.window.close()
    slicer.util.exit(code)


if os.environ.get(PART):
    inside()
elif __name__ == "__main__":
    sys.exit(main())
