"""Three small plots of the values along lines through a finding."""

import qt
from slicer.i18n import tr as _

_AS_IN_THE_VIEWS = ("R", "A", "I")
"""Where a profile begins, at the left: the patient's right as in axial views, and the front as in sagittal ones."""
_MARGIN, _TEXT_HEIGHT = 4, 14


def draw(profiles, width, height):
    """Return a pixmap with the profiles side by side, all on one scale, the finding in the middle of each."""
    pixmap = qt.QPixmap(width, height)
    pixmap.fill(qt.QColor("white"))
    values = [value for profile in profiles for value in profile.values]
    painter = qt.QPainter()
    painter.begin(pixmap)
    # drawing on an empty scale is impossible, and there is nothing to draw
    if values and max(values) > min(values):
        reach = max(abs(offset) for profile in profiles for offset in profile.offsets_mm)
        for index, profile in enumerate(profiles):
            box = (index * width // 3 + _MARGIN, _MARGIN, width // 3 - 2 * _MARGIN,
                   height - 2 * _MARGIN - _TEXT_HEIGHT)
            _drawOne(painter, profile, box, (min(values), max(values)), reach)
    painter.end()
    return pixmap


def _drawOne(painter, profile, box, scale, reach):
    left, top, width, height = box
    low, high = scale
    turn = 1 if profile.axis_ras[0] in _AS_IN_THE_VIEWS else -1
    first, last = profile.axis_ras[::turn]

    def place(offset, value):
        return (round(left + (turn * offset / reach + 1) / 2 * width),
                round(top + (high - value) / (high - low) * height))

    painter.setPen(qt.QColor("#c8c8c8"))
    middle = place(0.0, low)[0]
    painter.drawLine(middle, top, middle, top + height)
    painter.drawLine(left, top + height, left + width, top + height)
    painter.setPen(qt.QPen(qt.QBrush(qt.QColor("#2f6fb0")), 2))
    points = [place(offset, value) for offset, value in zip(profile.offsets_mm, profile.values, strict=True)]
    for (startX, startY), (endX, endY) in zip(points, points[1:], strict=False):
        painter.drawLine(startX, startY, endX, endY)
    painter.setPen(qt.QColor("#303030"))
    baseline = top + height + _TEXT_HEIGHT - 2
    painter.drawText(left, baseline, first)
    painter.drawText(left + width - 8, baseline, last)
    # the scales are the same for all three
    if first == "A":
        painter.drawText(middle - 44, baseline, _("signal {low:.3g}–{high:.3g}").format(low=low, high=high))
    else:
        painter.drawText(middle - 26, baseline, _("±{reach:.0f} mm").format(reach=reach))
