"""What of LiverTumorSeg knows Slicer. torch is never imported here: it runs in a child process."""
