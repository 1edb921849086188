"""Slice and 3D views drawn off screen by the real displayable managers."""

import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

SLICES = (
    ("Red", "Axial", (0.95, 0.29, 0.22)),
    ("Green", "Coronal", (0.43, 0.69, 0.29)),
    ("Yellow", "Sagittal", (0.93, 0.84, 0.3)),
)
SLICE_MANAGERS = (
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
)


def _group(factory, names, renderer):
    factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    for name in names:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    group = slicer.vtkMRMLDisplayableManagerGroup()
    group.SetRenderer(renderer)
    group.Initialize(factory, renderer)
    return group


class View:
    """A render window that is never on the screen."""

    def __init__(self, size):
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.renderer = vtk.vtkRenderer()
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)

    def renderWindow(self):
        return self.window

    def forceRender(self):
        self.window.Render()

    scheduleRender = forceRender

    def image(self):
        """The view's pixels as a (height, width, 3) uint8 array, top row first."""
        self.forceRender()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        pixels = grab.GetOutput()
        width, height, _ = pixels.GetDimensions()
        values = vtk_to_numpy(pixels.GetPointData().GetScalars())
        return values.reshape(height, width, -1)[::-1, :, :3].copy()


class SliceView(View):
    """One slice: the volume as a background image, segmentations and models above it."""

    def __init__(self, name, orientation, color, size):
        super().__init__(size)
        self.name = name
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self.logic.SetMRMLScene(slicer.mrmlScene)
        there = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")
        if there:  # a test, or a scene file, made it before the first window
            self.logic.SetSliceNode(there)
        self.node = there or self.logic.AddSliceNode(name)
        self.node.SetName(name)
        self.node.SetOrientation(orientation)
        self.node.SetLayoutColor(*color)
        self.node.SetDimensions(*size, 1)
        slicer.app.applicationLogic().GetSliceLogics().AddItem(self.logic)
        self.mapper, self.actor = vtk.vtkImageMapper(), vtk.vtkActor2D()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        self.actor.SetMapper(self.mapper)
        self.actor.GetProperty().SetDisplayLocationToBackground()
        self.actor.SetVisibility(False)
        self.renderer.AddViewProp(self.actor)  # first, or what lies above it is drawn below it
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        self.group = _group(factory, SLICE_MANAGERS, self.renderer)
        self.group.SetMRMLDisplayableNode(self.node)

    def forceRender(self):
        port = self.logic.GetImageDataConnection()
        if port:
            self.mapper.SetInputConnection(port)
        self.actor.SetVisibility(bool(port))
        self.window.Render()


class ThreeDView(View):
    """The 3D view."""

    def __init__(self, size):
        super().__init__(size)
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.node = self.logic.AddViewNode("1")
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        slicer.app.applicationLogic().GetViewLogics().AddItem(self.logic)
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        self.group = _group(factory, THREE_D_MANAGERS, self.renderer)
        self.group.SetMRMLDisplayableNode(self.node)

    def resetFocalPoint(self):
        self.renderer.ResetCamera()

    resetCamera = resetFocalPoint

    def mrmlViewNode(self):
        return self.node


class ViewWidget:
    """What layoutManager().sliceWidget() and threeDWidget() give."""

    def __init__(self, view):
        self._view = view

    def sliceView(self):
        return self._view

    threeDView = sliceView

    def sliceLogic(self):
        return self._view.logic

    def mrmlSliceNode(self):
        return self._view.node

    mrmlViewNode = mrmlSliceNode


ALL = frozenset({*(name for name, *_ in SLICES), "3D"})
IN_LAYOUT = {  # those of Slicer's that show fewer
    slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView: ALL,
    slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView: ALL,
    slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView: frozenset({"Red", "Yellow"}),
    slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView: frozenset({"Red"}),
    slicer.vtkMRMLLayoutNode.SlicerLayoutOneUp3DView: frozenset({"3D"}),
}


class LayoutManager:
    """Three slices and one 3D view. A layout shows some of them, and as in Slicer it leaves each
    view the orientation, place and volumes that it had."""

    threeDViewCount, tableViewCount, plotViewCount = 1, 0, 0

    def __init__(self, size=(400, 300)):
        self._slices = {name: SliceView(name, *rest, size) for name, *rest in SLICES}
        self._three_d = ThreeDView(size)
        self.layout = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView

    def setLayout(self, layout):
        if layout not in IN_LAYOUT:
            raise NotImplementedError(f"the stand-in has no layout {layout}")
        self.layout = layout

    @property
    def visible(self):
        """The names of the views that the layout shows."""
        return IN_LAYOUT[self.layout]

    def sliceViewNames(self):
        return tuple(self._slices)

    def sliceWidget(self, name):
        return ViewWidget(self._slices[name])

    def threeDWidget(self, index):
        return ViewWidget([self._three_d][index])

    def mrmlSliceLogics(self):
        return slicer.app.applicationLogic().GetSliceLogics()

    def resetSliceViews(self):
        for view in self._slices.values():
            view.logic.FitSliceToBackground()

    def resetThreeDViews(self):
        self._three_d.resetFocalPoint()

    def views(self):
        """All views by name, the 3D one last."""
        return {**self._slices, "3D": self._three_d}
