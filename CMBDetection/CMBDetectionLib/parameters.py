"""What the panel remembers in the scene, and the choices it offers."""

from microbleeds.review_files import CERTAINTIES
from microbleeds.settings import MODALITIES, OPERATING_POINTS
from slicer import vtkMRMLMarkupsFiducialNode, vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic


@parameterNodeWrapper
class CMBDetectionParameterNode:
    """Saved with the scene. `findings` is the set of findings shown in the panel; an empty `model` is the first one."""

    inputVolume: vtkMRMLScalarVolumeNode
    findings: vtkMRMLMarkupsFiducialNode
    modality: str = "auto"
    model: str = ""
    operatingPoint: str = "balanced"


class CMBDetectionLogic(ScriptedLoadableModuleLogic):
    """Gives access to the parameter node; the work is done by the engine."""

    def getParameterNode(self) -> CMBDetectionParameterNode:
        return CMBDetectionParameterNode(super().getParameterNode())


def modalityChoices() -> list[tuple[str, str]]:
    """Return (value, text) pairs."""
    texts = {"gre": _("T2*-GRE"), "swi": _("SWI"), "qsm": _("QSM")}
    return [("auto", _("Automatic"))] + [(value, texts.get(value, value.upper())) for value in MODALITIES]


def operatingPointChoices() -> list[tuple[str, str]]:
    """Return (value, text) pairs."""
    texts = {"balanced": _("Balanced"), "sensitive": _("Sensitive")}
    return [(value, texts.get(value, value.capitalize())) for value in OPERATING_POINTS]


def certaintyChoices() -> list[tuple[str, str]]:
    """Return (value, text) pairs."""
    texts = {"": _("Certainty…"), "definite": _("definite"), "possible": _("possible")}
    return [(value, texts.get(value, value)) for value in CERTAINTIES]
