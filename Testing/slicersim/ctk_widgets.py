"""Small real Qt widgets under the names of the CTK widgets.

Each has the properties, signals and slots that a scripted module uses, and nothing else: in Slicer
only properties, slots and Q_INVOKABLEs reach Python.
"""

import os

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from .properties import passed_on, row_layout, stored
from .pythonqt import native
from .uiloader import standin

HEAD = QtCore.QSize(60, 22)  # smallest size of a collapsible button's head, in pixels
UNLIMITED = 16777215  # Qt's largest widget height


@standin
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A button that shows or hides what lies in it; children hidden on purpose stay hidden."""

    contentsCollapsed = Signal(bool)

    def __init__(self, *args):
        super().__init__(next((a for a in args if isinstance(a, QtWidgets.QWidget)), None))
        self.__dict__.update(_collapsed=False, _forcing=False, _wanted={})
        native(self, "setCheckable")(True)
        native(self, "setChecked")(True)
        native(self, "toggled").connect(lambda on: self.setCollapsed(not on))
        native(self, "setContentsMargins")(4, HEAD.height() + 2, 4, 4)
        policies = QtWidgets.QSizePolicy.Policy
        native(self, "setSizePolicy")(policies.Minimum, policies.Preferred)
        for text in (a for a in args if isinstance(a, str)):
            native(self, "setText")(text)

    def setCollapsed(self, value):
        if value == self._collapsed:
            return
        if value:
            self._remember_contents()
        self.__dict__["_collapsed"] = value
        native(self, "setChecked")(not value)
        self._show_contents()
        native(self, "setMaximumHeight")(HEAD.height() if value else UNLIMITED)
        native(self, "updateGeometry")()
        self.contentsCollapsed.emit(value)

    collapsed = Property(bool, lambda self: self._collapsed, setCollapsed)

    def _contents(self):
        return [w for w in self.children() if isinstance(w, QtWidgets.QWidget)]

    def _remember_contents(self):
        """Notes which children are wanted, and listens for a change of mind meanwhile."""
        for widget in self._contents():
            if widget not in self._wanted:
                widget.installEventFilter(self)
            self._wanted[widget] = not native(widget, "isHidden")()

    def _show_contents(self):
        self.__dict__["_forcing"] = True
        for widget in self._contents():
            widget.setVisible(not self._collapsed and self._wanted.get(widget, True))
        self.__dict__["_forcing"] = False

    def showEvent(self, event):
        """Children that came while collapsed (from a .ui file, the collapsed state comes first)."""
        if self._collapsed:
            if any(widget not in self._wanted for widget in self._contents()):
                self._remember_contents()
            self._show_contents()
        super().showEvent(event)

    def eventFilter(self, child, event):
        """Keeps for later what is asked of a child while the button is collapsed."""
        kind, kinds = event.type(), QtCore.QEvent.Type
        asked = kind in (kinds.ShowToParent, kinds.HideToParent)
        if asked and self._collapsed and not self._forcing:
            self._wanted[child] = kind == kinds.ShowToParent
            self._show_contents()
        return False

    def minimumSizeHint(self):
        return HEAD if self._collapsed else super().minimumSizeHint().expandedTo(HEAD)

    def sizeHint(self):
        return HEAD if self._collapsed else super().sizeHint().expandedTo(HEAD)

    def hitButton(self, position):
        return position.y() < HEAD.height()

    def paintEvent(self, event):
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width, HEAD.height())
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        text = ("\u25b8 " if self._collapsed else "\u25be ") + self.text
        left = QtCore.Qt.AlignmentFlag.AlignLeft | QtCore.Qt.AlignmentFlag.AlignVCenter
        painter.drawText(option.rect.adjusted(8, 0, 0, 0), left, text)


@standin
class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box whose check box shows or hides its contents."""

    def __init__(self, *args):
        super().__init__(*args)
        native(self, "setCheckable")(True)
        native(self, "toggled").connect(self._expand)

    def _expand(self, on):
        for widget in self.children():
            if isinstance(widget, QtWidgets.QWidget):
                widget.setVisible(on)

    def setCollapsed(self, value):
        native(self, "setChecked")(not value)

    collapsed = Property(bool, lambda self: not native(self, "isChecked")(), setCollapsed)


@standin
class ctkSliderWidget(QtWidgets.QWidget):
    """A slider with a spin box."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._spin = QtWidgets.QDoubleSpinBox()
        row_layout(self, self._slider, self._spin)
        self._spin.maximum, self._slider.maximum = 99.0, 1000
        native(self._spin, "valueChanged").connect(self._spun)
        native(self._slider, "sliderMoved").connect(self._moved)

    def _moved(self, thousandths):
        spin = self._spin
        spin.value = spin.minimum + thousandths / 1000 * (spin.maximum - spin.minimum)

    def _spun(self, value):
        span = self._spin.maximum - self._spin.minimum
        self._slider.value = round(1000 * (value - self._spin.minimum) / span) if span else 0
        self.valueChanged.emit(value)

    value = passed_on(float, "_spin", "value")
    minimum = passed_on(float, "_spin", "minimum")
    maximum = passed_on(float, "_spin", "maximum")
    singleStep = passed_on(float, "_spin", "singleStep")
    decimals = passed_on(int, "_spin", "decimals")
    suffix = passed_on(str, "_spin", "suffix")
    prefix = passed_on(str, "_spin", "prefix")
    pageStep = stored(float, "pageStep", 10.0)
    tickInterval = stored(float, "tickInterval", 0.0)
    tracking = stored(bool, "tracking", True)

    def setValue(self, value):
        self._spin.value = value

    def setDecimals(self, value):
        self._spin.decimals = value


@standin
class ctkRangeWidget(QtWidgets.QWidget):
    """Two numbers, the first never above the second (the real one has a slider between them)."""

    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    valuesChanged = Signal(float, float)
    rangeChanged = Signal(float, float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._low, self._high = QtWidgets.QDoubleSpinBox(), QtWidgets.QDoubleSpinBox()
        row_layout(self, self._low, self._high)
        self.setRange(0.0, 99.0)
        self.setValues(0.0, 99.0)
        native(self._low, "valueChanged").connect(self._low_changed)
        native(self._high, "valueChanged").connect(self._high_changed)

    def _low_changed(self, value):
        self._high.value = max(value, self._high.value)
        self.minimumValueChanged.emit(value)
        self.valuesChanged.emit(value, self._high.value)

    def _high_changed(self, value):
        self._low.value = min(value, self._low.value)
        self.maximumValueChanged.emit(value)
        self.valuesChanged.emit(self._low.value, value)

    def setRange(self, minimum, maximum):
        for spin in (self._low, self._high):
            native(spin, "setRange")(minimum, maximum)
        self.rangeChanged.emit(minimum, maximum)

    def setValues(self, low, high):
        self._high.value, self._low.value = high, low

    def setMinimumValue(self, value):
        self._low.value = value

    def setMaximumValue(self, value):
        self._high.value = value

    def _write_both(self, name, value):
        setattr(self._low, name, value)
        setattr(self._high, name, value)

    minimum = Property(
        float, lambda s: s._low.minimum, lambda s, v: s.setRange(v, max(v, s.maximum))
    )
    maximum = Property(
        float, lambda s: s._low.maximum, lambda s, v: s.setRange(min(v, s.minimum), v)
    )
    minimumValue = passed_on(float, "_low", "value")
    maximumValue = passed_on(float, "_high", "value")
    decimals = Property(int, lambda s: s._low.decimals, lambda s, v: s._write_both("decimals", v))
    singleStep = Property(
        float, lambda s: s._low.singleStep, lambda s, v: s._write_both("singleStep", v)
    )
    suffix = Property(str, lambda s: s._low.suffix, lambda s, v: s._write_both("suffix", v))
    prefix = Property(str, lambda s: s._low.prefix, lambda s, v: s._write_both("prefix", v))


@standin
class ctkPathLineEdit(QtWidgets.QWidget):
    """A path typed in, or picked with the button."""

    Dirs, Files, Drives, NoSymLinks, Readable, Writable, Executable = 1, 2, 4, 8, 16, 32, 64

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._edit, self._browse = QtWidgets.QLineEdit(), QtWidgets.QToolButton()
        native(self._browse, "setText")("...")
        row_layout(self, self._edit, self._browse)
        native(self._edit, "textChanged").connect(self.currentPathChanged)
        native(self._browse, "clicked").connect(lambda: self.browse())

    currentPath = Property(str, lambda s: s._edit.text, lambda s, v: setattr(s._edit, "text", v))
    filters = stored(int, "filters", 7)
    nameFilters = stored("QStringList", "nameFilters", [])
    label = stored(str, "label", "")
    settingKey = stored(str, "settingKey", "")
    showHistoryButton = stored(bool, "showHistoryButton", True)
    showBrowseButton = Property(
        bool,
        lambda s: not native(s._browse, "isHidden")(),
        lambda s, on: s._browse.setVisible(on),
    )

    def setCurrentPath(self, path):
        self._edit.text = path

    def browse(self):
        ask = QtWidgets.QFileDialog
        if self.filters & self.Files:
            path = ask.getOpenFileName(self, self.label, self.currentPath)[0]
        else:
            path = ask.getExistingDirectory(self, self.label, self.currentPath)
        if path:
            self._edit.text = path

    def addCurrentPathToHistory(self):
        settings = QtCore.QSettings()
        settings.setValue(self.settingKey or self.objectName, self.currentPath)


@standin
class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder and asks for another one."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, *args):
        super().__init__(next((a for a in args if isinstance(a, QtWidgets.QWidget)), None))
        self._directory = os.getcwd()
        self._button = QtWidgets.QPushButton(self._directory)
        row_layout(self, self._button)
        native(self._button, "clicked").connect(lambda: self.browse())

    caption = stored(str, "caption", "")

    def setDirectory(self, path):
        changed = path != self._directory
        self.__dict__["_directory"] = path
        self._button.text = path
        if changed:
            self.directoryChanged.emit(path)

    directory = Property(str, lambda self: self._directory, setDirectory)

    def browse(self):
        path = QtWidgets.QFileDialog.getExistingDirectory(self, self.caption, self._directory)
        if path:
            self.setDirectory(path)
            self.directorySelected.emit(path)
        return path


@standin
class ctkComboBox(QtWidgets.QComboBox):
    """A QComboBox with a text for "nothing chosen"."""

    defaultText = Property(
        str, lambda s: s.placeholderText, lambda s, v: setattr(s, "placeholderText", v)
    )
    currentUserDataAsString = Property(
        str,
        lambda s: str(native(s, "currentData")() or ""),
        lambda s, v: setattr(s, "currentIndex", s.findData(v)),
    )


@standin
class ctkMenuButton(QtWidgets.QPushButton):
    """A push button with a menu behind an arrow of its own."""


@standin
class ctkPushButton(QtWidgets.QPushButton):
    """A push button with more freedom for its text and icon."""


@standin
class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text browser as high as its text."""

    collapsed = stored(bool, "collapsed", True)
    collapsible = stored(bool, "collapsible", False)


@standin
class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box that may be told not to come back."""

    dontShowAgainSettingsKey = stored(str, "dontShowAgainSettingsKey", "")
    dontShowAgainVisible = stored(bool, "dontShowAgainVisible", False)
