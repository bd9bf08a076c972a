"""Load a vision-language model's processor: tokenizer, image processor and chat template, for still images only.

transformers' own `AutoProcessor` also wants a video processor where the family has one, and that needs torchvision.
Here only images are shown, so video and audio are left out where torchvision is missing; the images then go through
transformers' Pillow processors, whose geometry is that of the families' reference code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING, processor_class_from_name
from transformers.processing_utils import ProcessorMixin
from transformers.utils.import_utils import is_torchvision_available

VIDEO = "video_processor"
_UNSHOWN = (VIDEO, "audio_processor", "feature_extractor")
# transformers leaves these without types.
_AUTO, _AUTO_IMAGE = cast(Any, AutoProcessor), cast(Any, AutoImageProcessor)


def load_processor(source: str, config: Any, **where: Any) -> Any:
    """Return the processor of a folder or hub id, the tokenizer padding on the left.

    `config` is the model's, by which the processor's class is known; `where` goes to every `from_pretrained`. Raises
    what transformers raises: `OSError` for missing files, `ImportError` for missing packages, `ValueError` otherwise.
    """
    kind = None if is_torchvision_available() else _kind(source, config, **where)
    if kind is None or VIDEO not in kind.get_attributes():
        processor = _AUTO.from_pretrained(source, **where)
    else:
        processor = _without_video(kind, source, **where)
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or getattr(processor, "image_processor", None) is None:
        raise ValueError(f"its processor is a {type(processor).__name__}, which does not take a text and an image")
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return processor


def chat_template(processor: Any) -> str | None:
    """Return the chat template that comes with a checkpoint, the processor's before the tokenizer's."""
    for template in (getattr(processor, "chat_template", None), processor.tokenizer.chat_template):
        if isinstance(template, dict):
            template = template.get("default")
        if template:
            return str(template)
    return None


def _kind(source: str, config: Any, **where: Any) -> Any:
    """Return the class of a checkpoint's processor: the one that its processor_config.json names, else its family's."""
    told, _ = ProcessorMixin.get_processor_dict(source, **where)
    named = processor_class_from_name(told["processor_class"]) if "processor_class" in told else None
    found = named or PROCESSOR_MAPPING.get(type(config), None)
    return found if isinstance(found, type) and issubclass(found, ProcessorMixin) else None


def _without_video(kind: Any, source: str, **where: Any) -> Any:
    """Return a processor as its `from_pretrained` makes it, with None in the place of what takes video and audio."""
    told, _ = kind.get_processor_dict(source, **where)
    parts: Mapping[str, Callable[[], Any]] = {
        "image_processor": lambda: _AUTO_IMAGE.from_pretrained(source, backend="pil", **where),
        "tokenizer": lambda: AutoTokenizer.from_pretrained(source, **where),
        **dict.fromkeys(_UNSHOWN, lambda: None),
    }
    lacking = [name for name in kind.get_attributes() if name not in parts]
    if lacking:
        raise ValueError(f"its processor {kind.__name__} also needs {', '.join(lacking)}")

    def accept_none(self: Any, name: str, part: object) -> Any:
        return (
            type(None) if name in _UNSHOWN and part is None else kind.check_argument_for_proper_class(self, name, part)
        )

    changed = {"check_argument_for_proper_class": accept_none, "__init__": kind.__init__}
    still = cast(Any, type)(kind.__name__, (kind,), changed)
    return still.from_args_and_dict([parts[name]() for name in kind.get_attributes()], told)
