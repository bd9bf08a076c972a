"""Agreement of the fusion block and of the CPM loss, each alone, with the official code."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fakereasoning.cpm import OFFICIAL_CPM, TEMPERATURE, cpm_loss
from fakereasoning.fusion import FAFF
from tests.fakereasoning.filled import fixtures, fusion_name, read
from tests.goldens.fill import fill_state

pytestmark = pytest.mark.goldens
Figures = dict[str, Any]


def named_noise(name: str, shape: list[int], seed: int) -> Tensor:
    """Return float32 normal noise that follows from a name, not scaled."""
    drawn = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32).standard_normal(math.prod(shape))
    return torch.from_numpy(drawn.astype(np.float32)).reshape(shape)


def furthest(told: Mapping[str, Any], tensor: Tensor) -> float:
    """Return the largest difference of a tensor from every figure told of it."""
    array = tensor.double().numpy()
    assert list(array.shape) == told["shape"]
    values = array.reshape(-1)[told["flat_index"]] - np.array(told["value"])
    moments = [array.mean() - told["mean"], array.std() - told["std"]]
    return float(np.abs([*values, *moments, array.min() - told["min"], array.max() - told["max"]]).max())


# ---------------------------------------------------------------- the fusion block


@pytest.fixture(scope="module", params=fixtures("faff"), ids=str)
def faff(request: pytest.FixtureRequest) -> Figures:
    return read(request.param)


def block(faff: Figures, size: str) -> FAFF:
    """Return our block with the filled tensors of the official one."""
    told = faff["configs"][size]
    (bias_hidden,) = (shape[0] for name, shape, _ in faff["state_dict"][size] if name == "attention_mlp.mlp.0.weight")
    with torch.device("meta"):
        made = FAFF(told["HIDDEN_SIZE"], told["MULTI_HEAD"], told["FF_SIZE"], bias_hidden, told["DROPOUT_R"])
    filled = fill_state(faff["state_dict"][size], faff["fill_seed"])
    state = {own: filled.pop(fusion_name(own)) for own in made.state_dict()}
    assert not filled
    made.load_state_dict(state, assign=True)
    return made.eval().requires_grad_(False)


def check_fusion(faff: Figures, name: str) -> None:
    told, seed = faff["cases"][name], faff["fill_seed"]
    fusion = block(faff, told["config"])
    query, key = (named_noise(each["name"], each["shape"], seed) for each in (told["inputs"][k] for k in ("q", "kv")))
    for tensor, each in ((query, told["inputs"]["q"]), (key, told["inputs"]["kv"])):
        assert hashlib.sha256(tensor.numpy().tobytes()).hexdigest() == each["float32_sha256"]
    attention = None
    if described := told["inputs"].get("attention_map"):
        logits = named_noise(described["logits_name"], described["shape"], seed)
        attention = torch.softmax(described["factor"] * logits, dim=-1)
        assert furthest(described, attention) < 1e-6
        bias = fusion.bias_of(attention)
        assert bias is not None
        scale = max(1.0, abs(told["attention_bias"]["min"]), abs(told["attention_bias"]["max"]))
        assert furthest(told["attention_bias"], bias) / scale < 2e-6
    noise = told["max_abs_difference_to_float64"]
    check_output(told, fusion(query, key, attention), 2 * noise + 5e-6)
    fusion.double()
    attention = None if attention is None else attention.double()
    check_output(told, fusion(query.double(), key.double(), attention), noise + 1e-9)


def check_output(told: Figures, output: Tensor, tolerance: float) -> None:
    worst = [
        furthest(told["output"], output),
        float((output[:, 0, :8].double() - torch.tensor(told["output_first_token_first_8"]).double()).abs().max()),
        float((output[:, -1, -8:].double() - torch.tensor(told["output_last_token_last_8"]).double()).abs().max()),
    ]
    norms = output.double().flatten(1).norm(dim=1).tolist()
    print("largest differences", worst, norms)
    assert max(worst) <= tolerance
    assert norms == pytest.approx(told["output_norm_per_sample"], rel=1e-6)


@pytest.mark.parametrize("case", ["small_9_tokens", "small_sharp_map", "small_no_map", "small_576_tokens"])
def test_the_small_fusion_block_agrees_in_float32_and_float64(faff: Figures, case: str) -> None:
    check_fusion(faff, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["official_9_tokens", "official_no_map"])
def test_the_fusion_block_agrees_at_its_official_size(faff: Figures, case: str) -> None:
    check_fusion(faff, case)


def test_every_case_of_the_fusion_fixture_is_tested(faff: Figures) -> None:
    small = {"small_9_tokens", "small_sharp_map", "small_no_map", "small_576_tokens"}
    assert set(faff["cases"]) == small | {"official_9_tokens", "official_no_map"}


# ---------------------------------------------------------------- the CPM loss


@pytest.fixture(scope="module", params=fixtures("cpm"), ids=str)
def cpm(request: pytest.FixtureRequest) -> Figures:
    return read(request.param)


def test_the_official_cpm_constants_agree(cpm: Figures) -> None:
    told = cpm["constants"]
    ours = (list(OFFICIAL_CPM.pattern), list(OFFICIAL_CPM.real), list(OFFICIAL_CPM.fake), TEMPERATURE)
    assert ours == (told["pattern_ids"], [told["real_id"]], [told["fake_id"]], told["temperature"])


def test_the_official_cpm_loss_and_its_gradient_agree_in_every_case(cpm: Figures) -> None:
    for case in cpm["cases"]:
        logits = case_logits(cpm, case).requires_grad_()
        labels = torch.zeros(case["B"], case["L"], dtype=torch.long)
        fake = torch.tensor(case["labels"])
        if exception := case.get("exception"):
            assert exception == "IndexError"
            with pytest.raises(IndexError, match=case["message"]):
                cpm_loss(logits, labels, fake, OFFICIAL_CPM, semantics="official")
            continue
        loss = cpm_loss(logits, labels, fake, OFFICIAL_CPM, semantics="official").loss
        assert str(loss.dtype) == case["loss_dtype"]
        assert float(loss.detach()) == pytest.approx(float(case["loss"]), rel=1e-6, abs=1e-7, nan_ok=True), case["name"]
        loss.backward()  # type: ignore[no-untyped-call]
        check_gradient(case, logits)


def check_gradient(case: Figures, logits: Tensor) -> None:
    assert logits.grad is not None
    # Bfloat16 keeps three digits.
    rel = 1e-2 if logits.dtype == torch.bfloat16 else 1e-5
    nonzero = logits.grad.nonzero().tolist()
    assert len(nonzero) == case["gradient_nonzero_count"], case["name"]
    for row, position, token, told in case["gradient_nonzero"]:
        found = float(logits.grad[row, position, token])
        assert found == pytest.approx(float(told), rel=rel, nan_ok=True), case["name"]


def case_logits(cpm: Figures, case: Figures) -> Tensor:
    shape = [case["B"], case["L"], cpm["constants"]["vocabulary"]]
    logits = 0.5 * named_noise(case["name"], shape, cpm["fill_seed"])
    for row, position, token, value in case["edits"]:
        logits[row, position, token] = float(value)
    return logits.to(getattr(torch, case.get("dtype", "float32")))
