"""The main window: module panel on the left, the four views as pictures on the right."""

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .modules import ModuleSelector
from .pythonqt import native

PANEL_WIDTH = 416  # of a panel of 400 pixels and its scroll bar
PLACES = ((0, 0), (1, 0), (1, 1), (0, 1))  # rows and columns of Red, Green, Yellow, 3D


class MainWindow(QtWidgets.QMainWindow):
    """slicer.util.mainWindow()"""

    _cpp_standin = True

    def __init__(self):
        super().__init__()
        native(self, "setObjectName")("qSlicerMainWindow")  # slicer.util looks for this name
        native(self, "setWindowTitle")("SlicerSim")
        dock = QtWidgets.QDockWidget("Module", self)
        self._scroll = QtWidgets.QScrollArea()
        self._scroll.widgetResizable = True
        native(self._scroll, "setMinimumWidth")(PANEL_WIDTH)
        dock.setWidget(self._scroll)
        self.addDockWidget(QtCore.Qt.DockWidgetArea.LeftDockWidgetArea, dock)
        self._selector = ModuleSelector(self._show_page, self)
        self._labels = {}
        self.setCentralWidget(self._grid())
        self.statusBar()
        self.resize(1280, 720)

    def _grid(self):
        center = QtWidgets.QWidget()
        grid = QtWidgets.QGridLayout(center)
        for place, name in zip(PLACES, slicer.app.layoutManager().views(), strict=True):
            self._labels[name] = QtWidgets.QLabel(name)
            grid.addWidget(self._labels[name], *place)
        return center

    def moduleSelector(self):
        return self._selector

    def _show_page(self, page):
        if self._scroll.widget() is not None:
            self._scroll.takeWidget()  # its module keeps it
        self._scroll.setWidget(page)
        page.show()

    def refresh(self):
        """Draws the views anew."""
        for name, view in slicer.app.layoutManager().views().items():
            pixels = view.image()
            height, width, channels = pixels.shape
            kind = QtGui.QImage.Format.Format_RGB888
            picture = QtGui.QImage(pixels.data, width, height, channels * width, kind)
            self._labels[name].setPixmap(QtGui.QPixmap.fromImage(picture.copy()))
            self._labels[name].setVisible(name in slicer.app.layoutManager().visible)
