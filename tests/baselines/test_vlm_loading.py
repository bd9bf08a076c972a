"""What a vision-language model's folder may lack, and what is said of it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from safetensors.torch import load_file, save_file
from transformers import dynamic_module_utils
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from baselines._vlm_entries import ENTRIES, nearest_native
from baselines._vlm_loading import load
from baselines._vlm_templates import TEMPLATES
from fdr_bench.errors import FDRBenchError, MissingExtra, UsageError, WeightsError
from tests.baselines.tiny_vlms import write


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def folder_of(config: dict[str, Any], folder: Path) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def changed(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    ("config", "error", "said"),
    [
        (
            {"model_type": "llava9", "transformers_version": "9.1.0"},
            MissingExtra,
            ["'llava9'", "saved by transformers 9.1.0", transformers.__version__, "pip install -U transformers"],
        ),
        (
            {"model_type": "internvl_chat", "auto_map": {"AutoModel": "modeling.InternVLChatModel"}},
            UsageError,
            ["authors' code", "trust-code", "vlm:internvl3-8b", "openai:"],
        ),
        ({"model_type": "chatglm", "auto_map": {"AutoModel": "m.M"}}, UsageError, ["authors' code", "vlm:glm-4.1v-9b"]),
        ({"model_type": "deepseek_vl_v2"}, UsageError, ["authors' code", "vlm:deepseek-vl-7b"]),
        ({"model_type": "llava_llama"}, UsageError, ["vlm:llava-1.5-13b"]),
        ({"model_type": "bert"}, UsageError, ["'bert'", "does not answer questions about images"]),
        ({"architectures": []}, WeightsError, ["names no model_type"]),
    ],
    ids=["unknown", "internvl2.5", "glm-4v", "deepseek-vl2", "old llava", "no vlm", "no type"],
)
def test_a_model_that_cannot_be_loaded_says_what_it_needs(
    config: dict[str, Any], error: type[FDRBenchError], said: list[str], tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        load(folder_of(config, tmp_path))
    assert all(words in str(caught.value) for words in said), caught.value


def test_code_that_cannot_be_asked_the_common_way_is_refused_though_it_is_trusted(tmp_path: Path) -> None:
    config = {"model_type": "internvl_chat", "auto_map": {"AutoModelForCausalLM": "modeling.InternVLChatModel"}}
    with pytest.raises(UsageError, match="offers AutoModelForCausalLM, but no AutoModelForImageTextToText"):
        load(folder_of(config, tmp_path), trusted=True)


def test_the_authors_code_runs_only_where_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    ran = tmp_path / "ran"
    folder = tmp_path / "model"
    folder.mkdir()
    auto_map = {"AutoConfig": "theirs.Config", "AutoModelForImageTextToText": "theirs.Model"}
    folder_of({"model_type": "theirs", "auto_map": auto_map}, folder)
    (folder / "theirs.py").write_text(f"open({str(ran)!r}, 'w').close()\nraise ValueError('it ran')\n")
    with pytest.raises(UsageError, match="authors' code"):
        load(folder)
    assert not ran.exists()
    with pytest.raises(WeightsError, match="it ran"):
        load(folder, trusted=True)
    assert ran.exists()


@pytest.mark.skipif(installed("torchvision"), reason="torchvision is installed")
def test_a_family_that_needs_torchvision_says_so(tmp_path: Path) -> None:
    write("llava", tmp_path)
    folder_of({"model_type": "mistral3"}, tmp_path)
    changed(tmp_path / "processor_config.json", processor_class="PixtralProcessor")
    with pytest.raises(MissingExtra, match=r"'mistral3'.* needs the package torchvision: pip install torchvision"):
        load(tmp_path)


@pytest.mark.skipif(installed("num2words"), reason="num2words is installed")
def test_a_family_that_needs_num2words_says_so(tmp_path: Path) -> None:
    write("idefics3", tmp_path)
    folder_of({"model_type": "smolvlm"}, tmp_path)
    changed(tmp_path / "processor_config.json", processor_class="SmolVLMProcessor")
    changed(tmp_path / "preprocessor_config.json", image_processor_type="SmolVLMImageProcessor")
    with pytest.raises(MissingExtra, match=r"'smolvlm'.* needs the package num2words: pip install num2words"):
        load(tmp_path)


@pytest.mark.skipif(installed("bitsandbytes"), reason="bitsandbytes is installed")
def test_four_bit_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match="pip install bitsandbytes"):
        load(write("llava", tmp_path), four_bit=True)


def test_a_folder_that_is_none_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="hf download ORG/NAME --local-dir FOLDER"):
        load(tmp_path)


def test_a_missing_tensor_is_an_error_and_never_random(tmp_path: Path) -> None:
    path = write("llava", tmp_path) / "model.safetensors"
    tensors = load_file(path)
    lost = next(name for name in tensors if "projector" in name)
    del tensors[lost]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"1 tensors are missing, such as .*projector"):
        load(tmp_path)


@pytest.mark.parametrize("lost", ["model.safetensors", "preprocessor_config.json", "tokenizer.json"])
def test_an_incomplete_folder_says_what_belongs_there(lost: str, tmp_path: Path) -> None:
    (write("llava", tmp_path) / lost).unlink()
    with pytest.raises(WeightsError, match="Check that the folder is complete"):
        load(tmp_path)


def test_a_checkpoints_own_chat_template_goes_before_the_familys(tmp_path: Path) -> None:
    path = write("llava", tmp_path) / "chat_template.jinja"
    path.write_text("OWN {{ messages | length }}")
    assert load(tmp_path).template == "OWN {{ messages | length }}"
    path.unlink()
    assert load(tmp_path).template == TEMPLATES["llava"]


def test_the_checkpoints_own_sampling_and_penalties_are_left_out(tmp_path: Path) -> None:
    changed(
        write("llava", tmp_path) / "generation_config.json", do_sample=True, repetition_penalty=9.0, temperature=2.0
    )
    plain = load(tmp_path).model.generation_config
    assert (plain.do_sample, plain.repetition_penalty, plain.temperature) == (None, None, None)
    assert plain.eos_token_id


# ---------------------------------------------------------------- the models by name


@pytest.mark.parametrize("name", ENTRIES)
def test_every_named_model_runs_here_or_names_one_that_does(name: str) -> None:
    entry = ENTRIES[name]
    native = entry if entry.native is None else ENTRIES[entry.native]
    assert native.native is None
    assert native.kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    if entry.native:
        assert entry.kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
        assert nearest_native(entry.kind) == f"vlm:{entry.native}"
