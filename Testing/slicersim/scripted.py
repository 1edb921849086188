"""slicer.ScriptedLoadableModule and slicer.i18n."""

import ast
import logging
import os
import re
import sys
import types
import unittest
from functools import cache

import slicer
from PySide6 import QtWidgets

translations = {}  # what a person's language has for a text
BRACED = re.compile(r"(?<!\{)\{([^{}]+)\}(?!\})")  # a placeholder, and no doubled brace


class ScriptedLoadableModule:
    """Base of the module class."""

    def __init__(self, parent):
        self.parent = parent
        self.moduleName = type(self).__name__

    def resourcePath(self, filename):
        return os.path.join(os.path.dirname(self.parent.path), "Resources", filename)

    def getDefaultModuleDocumentationLink(self, docPage=None):
        base = slicer.app.documentationBaseUrl
        url = base + docPage if docPage else slicer.app.moduleDocumentationUrl(self.moduleName)
        return f'<p>For more information, see the <a href="{url}">online documentation</a>.</p>'

    def runTest(self, msec=100, **kwargs):
        test = getattr(sys.modules[type(self).__module__], self.moduleName + "Test")()
        test.messageDelay = msec
        test.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """Base of the panel; its parent is the page that the application gives it."""

    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent or self._own_parent()
        self.layout = self.parent.layout()
        if parent is None:  # as in Slicer: before the __init__ of the panel itself goes on
            self.setup()
            self.parent.show()
        signal = "moduleAboutToBeUnloaded(QString)"
        slicer.app.moduleManager().connect(signal, self._onModuleAboutToBeUnloaded)

    def _own_parent(self):
        widget = slicer.qMRMLWidget()
        QtWidgets.QVBoxLayout(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        return widget

    def _onModuleAboutToBeUnloaded(self, moduleName):
        if moduleName == self.moduleName:
            self.cleanup()
            signal = "moduleAboutToBeUnloaded(QString)"
            slicer.app.moduleManager().disconnect(signal, self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename):
        folder = os.path.dirname(slicer.util.modulePath(self.moduleName))
        return os.path.join(folder, "Resources", filename)

    def setup(self):
        """Builds the panel."""

    def cleanup(self):
        """Called before the panel goes."""

    def onReload(self):
        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    """Base of the logic, with its parameter node."""

    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getAllParameterNodes(self):
        scene, kind = slicer.mrmlScene, "vtkMRMLScriptedModuleNode"
        count = scene.GetNumberOfNodesByClass(kind)
        nodes = (scene.GetNthNodeByClass(number, kind) for number in range(count))
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def getParameterNode(self):
        if self.isSingletonParameterNode:
            kind = "vtkMRMLScriptedModuleNode"
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, kind)
            if node:
                node.SetAttribute("ModuleName", self.moduleName)  # lost when the scene is closed
                return node
        else:
            nodes = self.getAllParameterNodes()
            if nodes:
                return nodes[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def createParameterNode(self):
        node = slicer.vtkMRMLScriptedModuleNode()
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of the self test."""

    messageDelay = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.enableScreenshots = False

    def delayDisplay(self, message, requestedDelay=None, msec=None):
        slicer.util.delayDisplay(message, 0)

    def runTest(self):
        """Slicer's own default runs every method with "test" in its name."""
        names = [n for n in dir(self) if "test" in n and n != "runTest"]
        self.setUpClass()
        for method in (getattr(self, n) for n in names if callable(getattr(self, n))):
            self.setUp()
            method()
            self.tearDown()
        self.tearDownClass()


def tr(text):
    """The text in the person's language; only, as in Slicer, with the same placeholders.

    Slicer looks it up among the texts that its tools have found in the file that asks.
    """
    if not isinstance(text, str):
        raise TypeError(f"tr: {text!r} is no text")
    if text not in translations or text not in texts_in(sys._getframe(1).f_code.co_filename):
        return text
    translated = translations[text]
    if set(BRACED.findall(text)) != set(BRACED.findall(translated)):
        logging.warning("placeholders of '%s' do not match those of '%s'", translated, text)
        return text
    return translated


@cache
def texts_in(path):
    """The literals that a file hands to tr, as _."""
    with open(path, encoding="utf-8") as source:
        calls = [node for node in ast.walk(ast.parse(source.read())) if isinstance(node, ast.Call)]
    arguments = [
        call.args[0] for call in calls if getattr(call.func, "id", "") == "_" and call.args
    ]
    return {argument.value for argument in arguments if isinstance(argument, ast.Constant)}


def register():
    """Makes the two Python modules importable."""
    module = types.ModuleType("slicer.ScriptedLoadableModule")
    classes = (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    )
    module.__all__ = [cls.__name__ for cls in classes]
    for cls in classes:
        setattr(module, cls.__name__, cls)
    slicer.ScriptedLoadableModule = sys.modules[module.__name__] = module
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr, i18n.translate = tr, lambda context, text: text
    slicer.i18n = sys.modules[i18n.__name__] = i18n
