"""A network that came as ONNX, which onnxruntime runs (the extra ``[onnx]``).

Its standard operations alone: an archive that needs others, or files beside it, is refused.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .archive import ArchiveNet, Program

GPU, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}


class OnnxNet(ArchiveNet):
    """Its arguments are those of :class:`ArchiveNet`."""

    @staticmethod
    def load(archive: bytes, device: torch.device) -> Program:
        """The program in an archive; ``ValueError`` when there is none, or onnxruntime lacks."""
        try:
            import onnxruntime
        except ImportError:
            raise ValueError(
                "A network that came as ONNX needs onnxruntime, which is missing; get it with: pip"
                " install 'livertumorseg[onnx]'."
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # what is wrong is raised
        has_gpu = device.type == "cuda" and GPU in onnxruntime.get_available_providers()
        try:
            session = onnxruntime.InferenceSession(
                archive, options, providers=[GPU, CPU] if has_gpu else [CPU]
            )
            (image,) = session.get_inputs()
            kind = TYPES[image.type]
        except Exception as error:  # onnxruntime has kinds of its own for whatever is wrong
            raise ValueError(
                "This is no ONNX network of one image that onnxruntime can run here; export the"
                " network again, in one file."
            ) from error
        return _Session(session, image, kind)


class _Session:
    """An ONNX network as a function of tensors; one that was exported for one patch gets one."""

    def __init__(self, session: Any, image: Any, kind: torch.dtype) -> None:
        self._session, self._name, self._kind = session, image.name, kind
        self._takes_one = image.shape[0] == 1

    def __call__(self, patches: Tensor) -> Tensor:
        if not self._takes_one or len(patches) == 1:
            return self._run(patches)
        return torch.cat([self._run(patch[None]) for patch in patches])

    def _run(self, patches: Tensor) -> Tensor:
        image = patches.to("cpu", self._kind).contiguous().numpy()
        try:
            answer, *_ = self._session.run(None, {self._name: image})
        except Exception as error:
            raise RuntimeError("onnxruntime cannot run this network.") from error
        return torch.from_numpy(answer).to(patches.device)
