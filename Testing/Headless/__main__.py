"""Slicer's command line, as far as ``Testing/run_in_slicer.py`` needs it:

    python -m Headless --testing --no-splash --additional-module-paths FOLDER --python-script FILE
"""

import argparse
import sys
from pathlib import Path

from Headless.start import start, stop


def main():
    parser = argparse.ArgumentParser(prog="Headless")
    for flag in ("--testing", "--no-splash", "--no-main-window", "--ignore-slicerrc"):
        parser.add_argument(flag, action="store_true", help="always so here")
    parser.add_argument("--additional-module-paths", nargs="+", default=[], metavar="FOLDER")
    parser.add_argument("--python-script", required=True, metavar="FILE")
    arguments = parser.parse_args()
    application = start(arguments.additional_module_paths)
    code = _run(application, arguments.python_script)
    stop()
    return code


def _run(application, script):
    """Run the script from the event loop, as Slicer does; the code is the one of ``slicer.util.exit``."""
    import qt

    def execute():
        sys.path.insert(0, str(Path(script).resolve().parent))
        try:
            exec(compile(Path(script).read_text(encoding="utf-8"), script, "exec"),
                 {"__name__": "__main__", "__file__": script})
        except Exception:
            sys.excepthook(*sys.exc_info())
            application.exit(1)
            return
        if application.commandOptions().runPythonAndExit:  # slicer.util.exit() resets it
            application.exit(0)

    qt.QTimer.singleShot(0, execute)
    return application.exec()


sys.exit(main())
