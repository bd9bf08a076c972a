"""fdr-bench: evaluation of AI-generated-image forgery detection and reasoning.

These names are what a plugin author imports; everything else is internal.
"""

from fdr_bench.errors import DataError, FDRBenchError, ImageError, PluginError, WeightsError
from fdr_bench.types import (
    AnswerView,
    CenterCrop,
    Detector,
    DetectorCard,
    DropOdd,
    FileMetadata,
    OpenCVResize,
    Prediction,
    Preset,
    Reflect,
    Resize,
    Sample,
    TensorResize,
    Tile,
    TrainedOn,
    View,
    Weights,
)

__version__ = "0.1.0"

__all__ = [
    "AnswerView",
    "CenterCrop",
    "DataError",
    "Detector",
    "DetectorCard",
    "DropOdd",
    "FDRBenchError",
    "FileMetadata",
    "ImageError",
    "OpenCVResize",
    "PluginError",
    "Prediction",
    "Preset",
    "Reflect",
    "Resize",
    "Sample",
    "TensorResize",
    "Tile",
    "TrainedOn",
    "View",
    "Weights",
    "WeightsError",
    "__version__",
]
