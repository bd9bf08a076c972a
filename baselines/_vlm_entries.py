"""Vision-language models by short names: where they are published, their licence, and which of them run here.

The hub's revisions are not pinned: none could be verified where this was written. Ids and licences are those of the
hub's pages and the authors' repositories. Where a checkpoint runs on its authors' code only, its entry names the
nearest model that transformers' own classes load. The oldest transformers that this package installs with has them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A published checkpoint. `native` is the entry to use instead, where this one needs its authors' code.

    `kind` is transformers' model_type, the one in the checkpoint's config.json.
    """

    hub: str
    title: str
    paper: str
    licence: str
    kind: str
    parameters: int | None = None
    native: str | None = None
    note: str = ""


_TABLE_III = "In the paper's Table III. "

ENTRIES: Mapping[str, Entry] = {
    "llava-1.5-13b": Entry(
        hub="llava-hf/llava-1.5-13b-hf",
        title="LLaVA-1.5-13B",
        paper="Liu et al., Improved Baselines with Visual Instruction Tuning, CVPR 2024",
        licence="Llama 2 Community License",
        kind="llava",
        note=_TABLE_III + "The hub's conversion of liuhaotian/llava-v1.5-13b to transformers' classes",
    ),
    "llava-1.5-7b": Entry(
        hub="llava-hf/llava-1.5-7b-hf",
        title="LLaVA-1.5-7B",
        paper="Liu et al., Improved Baselines with Visual Instruction Tuning, CVPR 2024",
        licence="Llama 2 Community License",
        kind="llava",
    ),
    "qwen2.5-vl-7b": Entry(
        hub="Qwen/Qwen2.5-VL-7B-Instruct",
        title="Qwen2.5-VL-7B",
        paper="Bai et al., Qwen2.5-VL Technical Report, arXiv 2502.13923",
        licence="Apache-2.0",
        kind="qwen2_5_vl",
        note=_TABLE_III.rstrip(),
    ),
    "internvl2.5-8b": Entry(
        hub="OpenGVLab/InternVL2_5-8B",
        title="InternVL2.5-8B",
        paper="Chen et al., Expanding Performance Boundaries of Open-Source Multimodal Models with Model, Data, and "
        "Test-Time Scaling, arXiv 2412.05271",
        licence="MIT (InternLM2.5's licence for its language model)",
        kind="internvl_chat",
        native="internvl3-8b",
        note=_TABLE_III + "Runs on its authors' code",
    ),
    "glm-4v-9b": Entry(
        hub="zai-org/glm-4v-9b",
        title="GLM-4V-9B",
        paper="GLM Team, ChatGLM: A Family of Large Language Models, arXiv 2406.12793",
        licence="GLM-4 model licence",
        kind="chatglm",
        native="glm-4.1v-9b",
        note=_TABLE_III + "Runs on its authors' code",
    ),
    "deepseek-vl2": Entry(
        hub="deepseek-ai/deepseek-vl2",
        title="DeepSeek-VL2",
        paper="Wu et al., DeepSeek-VL2: Mixture-of-Experts Vision-Language Models for Advanced Multimodal "
        "Understanding, arXiv 2412.10302",
        licence="DeepSeek model licence (its code: MIT)",
        kind="deepseek_vl_v2",
        native="deepseek-vl-7b",
        note=_TABLE_III + "Runs on its authors' code",
    ),
    "qwen3-vl-8b": Entry(
        hub="Qwen/Qwen3-VL-8B-Instruct",
        title="Qwen3-VL-8B",
        paper="Qwen Team, Qwen3-VL Technical Report, arXiv 2511.21631",
        licence="Apache-2.0",
        kind="qwen3_vl",
    ),
    "qwen3.5-27b": Entry(
        hub="Qwen/Qwen3.5-27B",
        title="Qwen3.5-27B",
        paper="none: Qwen Team's announcement of February 2026",
        licence="Apache-2.0",
        kind="qwen3_5",
    ),
    "internvl3-8b": Entry(
        hub="OpenGVLab/InternVL3-8B-hf",
        title="InternVL3-8B",
        paper="Zhu et al., InternVL3: Exploring Advanced Training and Test-Time Recipes for Open-Source Multimodal "
        "Models, arXiv 2504.10479",
        licence="Qwen licence (so the hub's page of this conversion; that of InternVL3-8B says Apache-2.0)",
        kind="internvl",
    ),
    "glm-4.1v-9b": Entry(
        hub="zai-org/GLM-4.1V-9B-Thinking",
        title="GLM-4.1V-9B-Thinking",
        paper="GLM-V Team, GLM-4.1V-Thinking: Towards Versatile Multimodal Reasoning with Scalable Reinforcement "
        "Learning, arXiv 2507.01006",
        licence="MIT",
        kind="glm4v",
        note="It thinks before it answers: use a prompt that lets it write, and --option max-tokens=4096",
    ),
    "deepseek-vl-7b": Entry(
        hub="deepseek-community/deepseek-vl-7b-chat",
        title="DeepSeek-VL-7B",
        paper="Lu et al., DeepSeek-VL: Towards Real-World Vision-Language Understanding, arXiv 2403.05525",
        licence="DeepSeek model licence",
        kind="deepseek_vl_hybrid",
    ),
    "gemma-3-12b": Entry(
        hub="google/gemma-3-12b-it",
        title="Gemma-3-12B",
        paper="Gemma Team, Gemma 3 Technical Report, arXiv 2503.19786",
        licence="Gemma terms of use (to be accepted on the hub)",
        kind="gemma3",
    ),
    "llava-onevision-7b": Entry(
        hub="llava-hf/llava-onevision-qwen2-7b-ov-hf",
        title="LLaVA-OneVision-7B",
        paper="Li et al., LLaVA-OneVision: Easy Visual Task Transfer, arXiv 2408.03326",
        licence="Apache-2.0",
        kind="llava_onevision",
    ),
    "idefics3-8b": Entry(
        hub="HuggingFaceM4/Idefics3-8B-Llama3",
        title="Idefics3-8B",
        paper="Laurençon et al., Building and better understanding vision-language models, arXiv 2408.12637",
        licence="Apache-2.0 (Llama 3.1's licence for its language model)",
        kind="idefics3",
    ),
    "idefics2-8b": Entry(
        hub="HuggingFaceM4/idefics2-8b",
        title="Idefics2-8B",
        paper="Laurençon et al., What matters when building vision-language models?, NeurIPS 2024",
        licence="Apache-2.0",
        kind="idefics2",
    ),
    "smolvlm2-2.2b": Entry(
        hub="HuggingFaceTB/SmolVLM2-2.2B-Instruct",
        title="SmolVLM2-2.2B",
        paper="Marafioti et al., SmolVLM: Redefining small and efficient multimodal models, arXiv 2504.05299",
        licence="Apache-2.0",
        kind="smolvlm",
        note="Needs num2words",
    ),
    "mistral-small-3.1-24b": Entry(
        hub="mistralai/Mistral-Small-3.1-24B-Instruct-2503",
        title="Mistral-Small-3.1-24B",
        paper="none: Mistral AI's announcement of March 2025",
        licence="Apache-2.0",
        kind="mistral3",
        note="Needs torchvision",
    ),
}

_ORIGINAL = {"llava_llama": "llava-1.5-13b"}
"""Layouts of older code than the hub's conversions: their model_type, and the entry of the conversion."""


def nearest_native(kind: str) -> str | None:
    """Return "vlm:NAME" of the nearest model that needs no code of its authors, for a model_type that does."""
    found = [entry.native for entry in ENTRIES.values() if entry.kind == kind and entry.native]
    name = found[0] if found else _ORIGINAL.get(kind)
    return f"vlm:{name}" if name else None
