# Slicer writes these fields into the extension's description; an empty one is refused there.
foreach(field HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if("${EXTENSION_${field}}" STREQUAL "")
    message(SEND_ERROR "EXTENSION_${field} is empty")
  endif()
endforeach()
