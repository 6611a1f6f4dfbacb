"""PyTorch: offered after asking, never imported into Slicer."""

import sys
import types
import unittest
from unittest import mock

from CMBDetectionLib import dependencies


class DependenciesTest(unittest.TestCase):
    def patch(self, target, **options):
        patcher = mock.patch(target, **options)
        self.addCleanup(patcher.stop)
        return patcher.start()

    def setUp(self):
        self.installed = self.patch("CMBDetectionLib.dependencies.torchIsInstalled", return_value=False)
        self.confirm = self.patch("slicer.util.confirmOkCancelDisplay", return_value=True)

    def test_nothingIsAskedWhenTorchIsThere(self):
        self.installed.return_value = True
        self.assertEqual(dependencies.ensureTorch(), "")
        self.confirm.assert_not_called()

    def test_decliningSaysWhatToDo(self):
        self.confirm.return_value = False
        install = self.patch("CMBDetectionLib.dependencies.installTorch")
        self.assertIn("Extensions Manager", dependencies.ensureTorch())
        install.assert_not_called()

    def test_installedAfterAsking(self):
        self.patch("CMBDetectionLib.dependencies.installTorch",
                   side_effect=lambda: setattr(self.installed, "return_value", True))
        self.assertEqual(dependencies.ensureTorch(), "")

    def test_failureOfTheInstallation(self):
        self.patch("CMBDetectionLib.dependencies.installTorch", side_effect=RuntimeError("no network"))
        with self.assertLogs(level="ERROR"):
            self.assertIn("no network", dependencies.ensureTorch())

    def test_theExtensionIsPreferred(self):
        logic = mock.Mock()
        module = types.SimpleNamespace(PyTorchUtilsLogic=lambda: logic)
        self.patch("CMBDetectionLib.dependencies.slicer.modules", new=types.SimpleNamespace(pytorchutils=object()))
        with mock.patch.dict(sys.modules, {"PyTorchUtils": module}):
            dependencies.installTorch()
        logic.installTorch.assert_called_once_with(torchVersionRequirement=">=2.3")

    def test_pipWithoutTheExtension(self):
        self.patch("CMBDetectionLib.dependencies.slicer.modules", new=types.SimpleNamespace())
        packaging = types.SimpleNamespace(pip_install=mock.Mock())
        with mock.patch.dict(sys.modules, {"slicer.packaging": packaging}):
            dependencies.installTorch()
        packaging.pip_install.assert_called_once_with("torch>=2.3")

    def test_oldSlicerHasPipInstallInUtil(self):
        self.patch("CMBDetectionLib.dependencies.slicer.modules", new=types.SimpleNamespace())
        install = self.patch("slicer.util.pip_install")
        with mock.patch.dict(sys.modules, {"slicer.packaging": None}):
            dependencies.installTorch()
        install.assert_called_once_with("torch>=2.3")


if __name__ == "__main__":
    unittest.main()
