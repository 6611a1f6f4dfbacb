"""A part of the bad inputs of `Testing/Benchmarks/hard_inputs.py`: every 15th of each kind, and all malicious ones.

The whole takes some minutes; its table is in ``Resources/hard-use.md``. The script runs in a process of its own,
because it forks, which a process that has computed with torch must not. How long each takes is for the script on an
idle machine; here only what hangs fails.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "Benchmarks" / "hard_inputs.py"


@pytest.mark.skipif(sys.platform != "linux", reason="forks, pipes, devices, and memory as Linux counts it")
def test_bad_inputs_are_refused_in_one_sentence_and_leave_nothing():
    done = subprocess.run([sys.executable, str(SCRIPT), "--every", "15", "--seconds", "300"],
                          capture_output=True, text=True, timeout=850)
    assert done.returncode == 0, done.stderr + done.stdout
    made, tried = map(int, re.search(r"(\d+) inputs were made, (\d+) of them tried", done.stdout).groups())
    assert made >= 300 and tried >= 90
    kinds = re.findall(r"^\| ([^|]+) \| \d+ \|", done.stdout, re.MULTILINE)
    assert {"cut off", "huge", "masks", "malicious weights", "reviews", "training sets", "work lists"} < set(kinds)
