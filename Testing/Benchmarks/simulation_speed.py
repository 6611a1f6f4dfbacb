"""Time and memory of simulating one subject in all modalities: 256×256×80 at 0.9×0.9×2 mm, 3 T, four echoes.

    python Testing/Benchmarks/simulation_speed.py

Runs ``cmbdetect simulate`` in a process of its own, start-up and writing included; on an idle machine, please.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time

COMMAND = ("-m", "microbleeds", "simulate", "--matrix", "256", "256", "80", "--in-plane", "0.9", "--slice", "2",
           "--field", "3", "--echo-times", "6", "12", "18", "24", "--bleeds", "10", "--jobs", "1", "--progress", "none")


def main() -> None:
    """Simulate one case and print wall time, processor time and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run([sys.executable, *COMMAND, "-o", folder], check=True, stdout=subprocess.DEVNULL)
        wall_s = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{os.cpu_count()} cores: {wall_s:.1f} s wall, {used.ru_utime + used.ru_stime:.1f} CPU s, "
          f"{used.ru_maxrss / 1024**2:.2f} GiB")


if __name__ == "__main__":
    main()
