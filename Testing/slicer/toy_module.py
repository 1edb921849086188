"""The text of a small module, for the tests of the stand-in application itself."""

MODULE = """
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

calls = []


class Toy(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        parent.title = _("Toy")
        parent.categories = ["Testing"]
        parent.contributors = ["Nobody"]
        parent.helpText = _("Nothing.")


@parameterNodeWrapper
class ToyParameterNode:
    volume: vtkMRMLScalarVolumeNode
    loud: bool = True


class ToyWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        calls.append("setup")
        ui = slicer.util.loadUI(self.resourcePath("UI/Toy.ui"))
        self.layout.addWidget(ui)
        self.ui = slicer.util.childWidgetVariables(ui)
        ui.setMRMLScene(slicer.mrmlScene)
        self.node = ToyLogic().getParameterNode()
        self.tag = self.node.connectGui(self.ui)

    def enter(self):
        calls.append("enter")

    def exit(self):
        calls.append("exit")

    def cleanup(self):
        calls.append("cleanup")
        self.node.disconnectGui(self.tag)


class ToyLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return ToyParameterNode(super().getParameterNode())


class ToyTest(ScriptedLoadableModuleTest):
    def runTest(self):
        calls.append("test")
"""

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0">
 <class>Toy</class>
 <widget class="qMRMLWidget" name="Toy">
  <layout class="QVBoxLayout" name="column">
   <item>
    <widget class="qMRMLNodeComboBox" name="volumeSelector">
     <property name="nodeTypes">
      <stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist>
     </property>
     <property name="noneEnabled"><bool>true</bool></property>
     <property name="SlicerParameterName" stdset="0"><string>volume</string></property>
    </widget>
   </item>
   <item>
    <widget class="ctkCollapsibleButton" name="advanced">
     <property name="collapsed"><bool>true</bool></property>
     <layout class="QVBoxLayout" name="inner">
      <item>
       <widget class="QCheckBox" name="loudCheckBox">
        <property name="SlicerParameterName" stdset="0"><string>loud</string></property>
       </widget>
      </item>
     </layout>
    </widget>
   </item>
   <item><widget class="QPushButton" name="button"/></item>
  </layout>
 </widget>
 <connections>
  <connection>
   <sender>Toy</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
   <receiver>volumeSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot>
  </connection>
 </connections>
</ui>
"""
