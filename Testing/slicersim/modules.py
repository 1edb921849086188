"""slicer.modules.<name>: the modules, their pages, and the list of them."""

import sys

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property

from .pythonqt import native
from .qmrml_widgets import qMRMLWidget


class ModulePage(qMRMLWidget):
    """The parent that a panel gets from the application (qSlicerScriptedLoadableModuleWidget)."""

    _cpp_standin = True

    def __init__(self, module_name):
        super().__init__()
        self.__dict__.update(_module_name=module_name, _entered=False, _python_widget=None)
        QtWidgets.QVBoxLayout(self)
        self.setMRMLScene(slicer.mrmlScene)

    isEntered = Property(bool, lambda self: self._entered)
    moduleName = Property(str, lambda self: self._module_name)

    def self(self):
        """The Python object of the panel."""
        return self._python_widget

    def build(self):
        """Makes the panel from the class that the module's source has now."""
        cls = getattr(sys.modules[self._module_name], self._module_name + "Widget")
        widget = self.__dict__["_python_widget"] = cls(self)
        setattr(slicer.modules, self._module_name + "Widget", widget)
        widget.setup()

    reload = build  # as in Slicer, a reload calls setup and not enter

    def enter(self):
        self.__dict__["_entered"] = True
        self._call("enter")

    def exit(self):
        self.__dict__["_entered"] = False
        self._call("exit")

    def _call(self, name):
        if hasattr(self._python_widget, name):
            getattr(self._python_widget, name)()


class Module:
    """What slicer.modules.<name> gives: name, path, logic(), widgetRepresentation()."""

    def __init__(self, name, logic=None, path=""):
        self.name, self.path, self.title = name, path, name
        self.categories, self.dependencies, self.contributors = [], [], []
        self.helpText = self.acknowledgementText = ""
        self.icon, self.hidden = None, False
        self.instance = None
        self._logic, self._page = logic, None

    def logic(self):
        return self._logic

    def widgetRepresentation(self):
        if self._page is None:
            self._page = ModulePage(self.name)
            self._page.build()
        return self._page


class ScriptedModule(Module):
    """slicer.util asks isinstance(module, slicer.qSlicerScriptedLoadableModule)."""

    def createNewWidgetRepresentation(self):
        page = ModulePage(self.name)
        page.build()
        return page


class ModuleManager(QtCore.QObject):
    """slicer.app.moduleManager()"""

    moduleAboutToBeUnloaded = QtCore.Signal(str)
    moduleLoaded = QtCore.Signal(str)

    def __init__(self):
        super().__init__()
        self._modules = {}

    def add(self, module):
        self._modules[module.name] = module
        setattr(slicer.modules, module.name.lower(), module)
        setattr(slicer.moduleNames, module.name, module.name)
        self.moduleLoaded.emit(module.name)
        return module

    def add_scripted(self, cls, source):
        """A scripted module of the stand-in itself; source is the Python module with its Widget."""
        sys.modules.setdefault(cls.__name__, source)
        entry = ScriptedModule(cls.__name__, path=source.__file__)
        entry.instance = cls(entry)
        return self.add(entry)

    def module(self, name):
        return self._modules.get(name)

    def modulesNames(self):
        return tuple(self._modules)

    loadedModulesNames = modulesNames


class ModuleSelector(QtWidgets.QToolBar):
    """The main window's moduleSelector(): one module is entered at a time."""

    _cpp_standin = True
    moduleSelected = QtCore.Signal(str)

    def __init__(self, show, parent=None):
        super().__init__(parent)
        self.__dict__.update(_show=show, _selected="")
        native(self, "setVisible")(False)

    selectedModule = Property(str, lambda self: self._selected)

    def selectModule(self, name):
        """Leaves the present module and enters the other; nothing for an unknown name."""
        module = slicer.app.moduleManager().module(name)
        if module is None or name == self._selected:
            return
        if self._selected:
            slicer.app.moduleManager().module(self._selected).widgetRepresentation().exit()
        self.__dict__["_selected"] = name
        page = module.widgetRepresentation()
        self._show(page)
        page.enter()
        self.moduleSelected.emit(name)
