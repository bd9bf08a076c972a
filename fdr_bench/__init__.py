"""fdr-bench: evaluation of AI-generated-image forgery detection and reasoning.

These names are what a plugin author imports; everything else is internal.
"""

from fdr_bench.errors import DataError, FDRBenchError, ImageError, PluginError, WeightsError
from fdr_bench.types import (
    CenterCrop,
    Detector,
    DetectorCard,
    DropOdd,
    FileMetadata,
    Prediction,
    Preset,
    Resize,
    Sample,
    Tile,
    TrainedOn,
    View,
    Weights,
)

__version__ = "0.1.0"

__all__ = [
    "CenterCrop",
    "DataError",
    "Detector",
    "DetectorCard",
    "DropOdd",
    "FDRBenchError",
    "FileMetadata",
    "ImageError",
    "PluginError",
    "Prediction",
    "Preset",
    "Resize",
    "Sample",
    "Tile",
    "TrainedOn",
    "View",
    "Weights",
    "WeightsError",
    "__version__",
]
