"""The Sample Data module: keeps what is registered and shows a button for each; no network.

As in Slicer, a custom downloader runs when the button is clicked, and only then.
"""

import sys
import types
from pathlib import Path

import slicer
from PySide6 import QtWidgets

from .pythonqt import native
from .scripted import ScriptedLoadableModule, ScriptedLoadableModuleWidget


class SampleDataSource:
    """One entry of the module; a list of files, or one."""

    def __init__(
        self,
        sampleName=None,
        sampleDescription=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        checksums=None,
        loadFiles=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileType=None,
        loadFileProperties=None,
    ):
        self.sampleName = sampleName
        self.sampleDescription = sampleDescription or sampleName
        self.customDownloader, self.thumbnailFileName = customDownloader, thumbnailFileName
        self.loadFileProperties = loadFileProperties or {}
        if not isinstance(uris, str | list | tuple):
            raise TypeError("uris must be text or a list, also with a custom downloader")
        self.uris = self._listed(uris)
        count = len(self.uris)
        self.fileNames, self.nodeNames = self._listed(fileNames), self._filled(nodeNames, count)
        self.checksums, self.loadFiles = (self._filled(v, count) for v in (checksums, loadFiles))
        self.loadFileType = self._filled(loadFileType, count)
        fields = ("fileNames", "nodeNames", "checksums", "loadFiles", "loadFileType")
        if any(len(getattr(self, name)) != count for name in fields):
            raise ValueError("All fields of sample data source must have the same length")

    @staticmethod
    def _listed(value):
        return list(value) if isinstance(value, list | tuple) else [value]

    @classmethod
    def _filled(cls, value, count):
        return cls._listed(value) if isinstance(value, list | tuple) else [value] * count

    def __eq__(self, other):
        return isinstance(other, SampleDataSource) and vars(self) == vars(other)

    __hash__ = None


class SampleDataLogic:
    """Keeps ``slicer.modules.sampleDataSources``: {category: [SampleDataSource]}."""

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileType="VolumeFile",
        loadFiles=None,
        loadFileProperties=None,
        checksums=None,
    ):
        source = SampleDataSource(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
            loadFileType=loadFileType,
            loadFiles=loadFiles,
            loadFileProperties=loadFileProperties,
            checksums=checksums,
        )
        if thumbnailFileName and not Path(thumbnailFileName).is_file():
            raise FileNotFoundError(f"no thumbnail at {thumbnailFileName}")  # Slicer shows none
        sources = slicer.modules.sampleDataSources.setdefault(category, [])
        if source not in sources:
            sources.append(source)

    @staticmethod
    def sampleDataSourcesByCategory(category=None):
        everything = slicer.modules.sampleDataSources
        return everything if category is None else everything.get(category, [])

    @staticmethod
    def isSampleDataSourceRegistered(category, sampleDataSource):
        return sampleDataSource in slicer.modules.sampleDataSources.get(category, [])

    def sourceForSampleName(self, sampleName):
        sources = slicer.modules.sampleDataSources.values()
        every = (source for category in sources for source in category)
        return next((source for source in every if source.sampleName == sampleName), None)

    def downloadFromSource(self, source, maximumAttemptsCount=3):
        raise RuntimeError(f"{source.uris} would be downloaded; the stand-in has no network")

    def downloadSamples(self, sampleName):
        """Takes the addresses, not the custom downloader."""
        source = self.sourceForSampleName(sampleName)
        return self.downloadFromSource(source) if source else []

    def downloadSample(self, sampleName):
        return self.downloadSamples(sampleName)[0]


class SampleData(ScriptedLoadableModule):
    """The module, and the place where its sources are kept."""

    def __init__(self, parent):
        super().__init__(parent)
        parent.title, parent.categories = "Sample Data", ["Informatics"]
        slicer.modules.sampleDataSources = {}


class SampleDataWidget(ScriptedLoadableModuleWidget):
    """One box a category, one button a source, with the names that Slicer gives them."""

    def setup(self):
        self.logic = SampleDataLogic()
        for category, sources in sorted(slicer.modules.sampleDataSources.items()):
            box = QtWidgets.QGroupBox(category)
            native(box, "setObjectName")(f"{category}CollapsibleGroupBox")
            column = QtWidgets.QVBoxLayout(box)
            for source in sources:
                column.addWidget(self._button(source))
            self.layout.addWidget(box)

    def _button(self, source):
        button = QtWidgets.QToolButton()
        native(button, "setText")(source.sampleDescription)
        native(button, "setObjectName")(f"{source.sampleDescription}PushButton")
        load = source.customDownloader or self.logic.downloadFromSource
        button.connect("clicked()", lambda: load(source))
        return button


def register():
    """Makes ``import SampleData`` work, as it does in Slicer."""
    module = types.ModuleType("SampleData")
    for item in (SampleDataSource, SampleDataLogic, SampleData, SampleDataWidget):
        setattr(module, item.__name__, item)
    module.downloadSample = lambda name: SampleDataLogic().downloadSamples(name)[0]
    module.downloadSamples = lambda name: SampleDataLogic().downloadSamples(name)
    sys.modules["SampleData"] = module
