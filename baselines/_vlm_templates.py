"""Chat formats of the families by transformers' `model_type`, for checkpoints that come without a chat template.

A checkpoint's own template always goes first. Each of these gives the family's published format for one turn of a user
with one image, and an optional system text before it.
"""

from __future__ import annotations

from collections.abc import Mapping

_TURN = "{%- for message in messages -%}"
_IMAGES = "{%- for part in message.content if part.type == 'image' -%}"
_TEXTS = "{%- for part in message.content if part.type == 'text' -%}{{ part.text }}{%- endfor -%}"
_END = "{%- endfor -%}"


def _chatml(image: str, *, system: str = "") -> str:
    """Return ChatML; `system` stands in for a conversation without a system text."""
    usual = (
        "{%- if messages[0].role != 'system' -%}{{ '<|im_start|>system\\n" + system + "<|im_end|>\\n' }}{%- endif -%}"
        if system
        else ""
    )
    return (
        f"{usual}{_TURN}{{{{ '<|im_start|>' + message.role + '\\n' }}}}{_IMAGES}{{{{ '{image}' }}}}{_END}{_TEXTS}"
        f"{{{{ '<|im_end|>\\n' }}}}{_END}{{%- if add_generation_prompt -%}}{{{{ '<|im_start|>assistant\\n' }}}}"
        "{%- endif -%}"
    )


def _roles(*, begin: str = "", usual: str = "", system: str, user: str, image: str, after: str, assistant: str) -> str:
    """Return a format that marks the user's turn and the answer with words, the system text standing in front.

    `usual` stands in for a conversation without a system text; `system` and `after` end the two turns.
    """
    told = f"{{%- if messages[0].role != 'system' -%}}{{{{ '{usual}{system}' }}}}{{%- endif -%}}" if usual else ""
    return (
        f"{{{{ '{begin}' }}}}{told}{_TURN}{{%- if message.role == 'system' -%}}{_TEXTS}{{{{ '{system}' }}}}"
        f"{{%- else -%}}{{{{ '{user}' }}}}{_IMAGES}{{{{ '{image}' }}}}{_END}{_TEXTS}{{{{ '{after}' }}}}{{%- endif -%}}"
        f"{_END}{{%- if add_generation_prompt -%}}{{{{ '{assistant}' }}}}{{%- endif -%}}"
    )


_QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
_GLM = (
    "{{ '[gMASK]<sop>' }}"
    + _TURN
    + "{{ '<|' + message.role + '|>\\n' }}"
    + _IMAGES
    + "{{ '<|begin_of_image|><|image|><|end_of_image|>' }}"
    + _END
    + _TEXTS
    + _END
    + "{%- if add_generation_prompt -%}{{ '<|assistant|>\\n' }}{%- endif -%}"
)

_DEEPSEEK = _roles(
    usual="You are a helpful language and vision assistant. You are able to understand the visual content that the "
    "user provides, and assist the user with a variety of tasks using natural language.",
    system="\\n\\n",
    user="User: ",
    image="<image_placeholder>",
    after="\\n\\n",
    assistant="Assistant:",
)
_GEMMA = (
    # Gemma has no system turn: the system text opens the user's.
    "{{ bos_token + '<start_of_turn>user\\n' }}"
    + _TURN
    + "{%- if message.role == 'system' -%}"
    + _TEXTS
    + "{{ '\\n\\n' }}{%- else -%}"
    + _IMAGES
    + "{{ '<start_of_image>' }}"
    + _END
    + _TEXTS
    + "{%- endif -%}"
    + _END
    + "{{ '<end_of_turn>\\n' }}{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"
)


def _idefics(begin: str) -> str:
    end = "<end_of_utterance>\\n"
    return _roles(begin=begin, system=end, user="User:", image="<image>", after=end, assistant="Assistant:")


_HELPFUL = "You are a helpful assistant."

TEMPLATES: Mapping[str, str] = {
    "llava": _roles(system=" ", user="USER: ", image="<image>\\n", after=" ", assistant="ASSISTANT:"),
    "llava_onevision": _chatml("<image>\\n", system=_HELPFUL),
    "qwen2_vl": _chatml(_QWEN_IMAGE, system=_HELPFUL),
    "qwen2_5_vl": _chatml(_QWEN_IMAGE, system=_HELPFUL),
    "qwen3_vl": _chatml(_QWEN_IMAGE),
    "internvl": _chatml("<IMG_CONTEXT>\\n"),
    "glm4v": _GLM,
    "glm46v": _GLM,
    "deepseek_vl": _DEEPSEEK,
    "deepseek_vl_hybrid": _DEEPSEEK,
    "gemma3": _GEMMA,
    "idefics2": _idefics(""),
    "idefics3": _idefics("<|begin_of_text|>"),
    "smolvlm": _idefics("<|im_start|>"),
}
