"""slicer.dicomDatabase, which is there once Slicer's DICOM module was: ctkDICOMDatabase in small.

Texts are texts: PythonQt takes no pathlib.Path. What Slicer's own would only log is refused aloud:
a file that is not there, is no DICOM, or is listed already.
"""

import pydicom


class DicomDatabase:
    """Knows files by the UID of their instance."""

    def __init__(self, files=()):
        self._files = {}
        self.inserted = []
        for file in files:
            self._files[self._uid(str(file))] = str(file)

    def fileForInstance(self, uid):
        """The path; empty where the instance is unknown."""
        self._refuse_other_types(uid)
        return self._files.get(uid, "")

    def insert(self, path, storeFile=False, generateThumbnail=False):
        self._refuse_other_types(path)
        uid = self._uid(path)
        if uid in self._files:
            raise AssertionError("this instance is in the database already")
        self._files[uid] = path
        self.inserted.append(path)

    def instances(self):
        """All UIDs, in no order of theirs."""
        return sorted(self._files)

    @staticmethod
    def _uid(path):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"):
            if not header.get(name):
                raise AssertionError(f"a file without {name} is not listed")
        return str(header.SOPInstanceUID)

    @staticmethod
    def _refuse_other_types(text):
        if type(text) is not str:
            raise ValueError("Called with wrong argument types: a text is needed")
