# The macros that an extension calls. Errors are gathered (SEND_ERROR), so that one configure run
# names every wrong file.
include(CTest)

set(SLICERSIM_PYTHON "python3" CACHE STRING "A Python that has slicer-core and PySide6")
set(_slicersim_modules "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
get_filename_component(_slicersim_home "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)

function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(
    M "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(M_UNPARSED_ARGUMENTS)
    message(SEND_ERROR "unknown keywords: ${M_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT M_NAME)
    message(FATAL_ERROR "NAME is mandatory")
  endif()
  set(listed)
  foreach(file IN LISTS M_SCRIPTS M_RESOURCES)
    if(file IN_LIST listed)
      message(SEND_ERROR "${M_NAME}: '${file}' is listed twice")
    elseif(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
      message(SEND_ERROR "${M_NAME}: '${file}' is in CMakeLists.txt and not in the folder")
    else()
      get_filename_component(folder "${file}" DIRECTORY)
      file(COPY "${file}" DESTINATION "${_slicersim_modules}/${folder}")
      install(FILES "${file}"
        DESTINATION "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/${folder}")
    endif()
    list(APPEND listed "${file}")
  endforeach()
  _slicersim_find_unlisted(${M_NAME} "${listed}")
  if(BUILD_TESTING AND M_WITH_GENERIC_TESTS)
    _slicersim_add_test(
      "py_nomainwindow_qSlicer${M_NAME}ModuleGenericTest" generic "${_slicersim_modules}" ${M_NAME})
  endif()
endfunction()

# What lies in the module's folder and is not listed would be missing from an installed Slicer.
function(_slicersim_find_unlisted name listed)
  file(GLOB_RECURSE found RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}" CONFIGURE_DEPENDS "*")
  list(FILTER found EXCLUDE REGEX "(^|/)(__pycache__|Testing|[.][^/]*)(/|$)|CMakeLists[.]txt$|README[.]md$|[.]part$|[.]egg-info(/|$)")
  foreach(file IN LISTS found)
    if(NOT file IN_LIST listed)
      message(SEND_ERROR "${name}: '${file}' is in the folder and not in CMakeLists.txt")
    endif()
  endforeach()
endfunction()

function(_slicersim_add_test name)
  add_test(NAME "${name}" COMMAND ${SLICERSIM_PYTHON} -m slicersim ${ARGN})
  set_tests_properties("${name}" PROPERTIES
    ENVIRONMENT "PYTHONPATH=${_slicersim_home};QT_QPA_PLATFORM=offscreen"
    RUN_SERIAL TRUE TIMEOUT 300)
endfunction()

function(slicer_add_python_unittest)
  cmake_parse_arguments(T "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS" ${ARGN})
  if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${T_SCRIPT}")
    message(SEND_ERROR "test script '${T_SCRIPT}' does not exist")
  endif()
  get_filename_component(name "${T_SCRIPT}" NAME_WE)
  _slicersim_add_test("py_${T_TESTNAME_PREFIX}${name}"
    unittest "${_slicersim_modules}" "${CMAKE_CURRENT_SOURCE_DIR}" "${name}")
endfunction()
