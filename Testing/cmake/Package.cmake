# Slicer sets up CPack here; installing is all that the stand-in needs.
