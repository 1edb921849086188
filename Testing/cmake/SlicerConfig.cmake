# Stands in for the package of a Slicer build tree:
#
#     cmake -S . -B build -DSlicer_DIR=$PWD/Testing/cmake -DSLICERSIM_PYTHON=$(which python)
#     cd build && ctest
#
# It configures a scripted extension, compares its lists of files with its folders, lays the modules
# out as Slicer does, and registers their tests, which then run from that layout in slicersim.
set(Slicer_FOUND TRUE)
set(Slicer_VERSION 5.12.3)
set(Slicer_VERSION_MAJOR 5)
set(Slicer_VERSION_MINOR 12)
set(Slicer_USE_PYTHONQT ON)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-5.12/qt-scripted-modules")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/Package.cmake")
