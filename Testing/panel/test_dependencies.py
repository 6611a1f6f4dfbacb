"""PyTorch: offered after asking, never imported into Slicer."""

import importlib.metadata
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
        self.really = dependencies.torchIsInstalled
        self.installed = self.patch("CMBDetectionLib.dependencies.torchIsInstalled", return_value=False)
        self.confirm = self.patch("slicer.util.confirmOkCancelDisplay", return_value=True)
        self.patch("CMBDetectionLib.dependencies.slicer.modules", new=types.SimpleNamespace(pytorchutils=object()))

    def test_anOldTorchIsNone(self):
        isInstalled = self.really
        for version, expected in (("2.3.1", False), ("2.6.0+cpu", True), ("3.0.0a0", True)):
            with self.subTest(version), mock.patch("importlib.metadata.version", return_value=version):
                self.assertEqual(isInstalled(), expected)
        with mock.patch("importlib.metadata.version", side_effect=importlib.metadata.PackageNotFoundError):
            self.assertFalse(isInstalled())

    def test_nothingIsAskedWhenTorchIsThere(self):
        self.installed.return_value = True
        self.assertEqual(dependencies.ensureTorch(), "")
        self.confirm.assert_not_called()

    def test_decliningSaysWhatToDo(self):
        self.confirm.return_value = False
        install = self.patch("CMBDetectionLib.dependencies.installTorch")
        self.assertIn("click Detect again and accept", dependencies.ensureTorch())
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
        with mock.patch.dict(sys.modules, {"PyTorchUtils": module}):
            dependencies.installTorch()
        logic.installTorch.assert_called_once_with(torchVersionRequirement=">=2.6")

    def test_withoutTheExtensionNothingIsInstalled(self):
        self.patch("CMBDetectionLib.dependencies.slicer.modules", new=types.SimpleNamespace())
        self.assertIn("install the extension PyTorch", dependencies.ensureTorch())
        self.confirm.assert_not_called()

    def test_smallPackagesAreInstalledAfterAsking(self):
        packaging = types.SimpleNamespace(pip_install=mock.Mock())
        found = self.patch("importlib.util.find_spec", side_effect=[None, object()])
        with mock.patch.dict(sys.modules, {"slicer.packaging": packaging}):
            self.assertEqual(dependencies.ensurePackage("reportlab"), "")
        packaging.pip_install.assert_called_once_with("reportlab>=4.2")
        self.assertEqual(found.call_count, 2)

    def test_smallPackagesAreNotInstalledAgainstTheWill(self):
        self.confirm.return_value = False
        self.patch("importlib.util.find_spec", return_value=None)
        install = self.patch("CMBDetectionLib.dependencies._pipInstall")
        self.assertIn("take away its tick", dependencies.ensurePackage("reportlab"))
        install.assert_not_called()


if __name__ == "__main__":
    unittest.main()
