"""What learns can be compiled: the same gradients, nothing of it left behind, and clear errors where it cannot be."""

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from fakereasoning.acceleration import compiled
from fakereasoning.checkpoints import read_json
from fakereasoning.pipeline import train_stage
from fdr_bench.errors import UsageError
from tests.fakereasoning import small

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None or not Path(sysconfig.get_path("include"), "Python.h").is_file(),
    reason="there is no C++ compiler, or no Python.h, for torch to compile with",
)


def gradients(model, pixels, mask):
    """The tokens of images and the hidden states behind them, and the gradients of the sum of their squares."""
    model.zero_grad()
    tokens = model.fused_tokens(model.visual_features(pixels))
    hidden = model.language.model(inputs_embeds=tokens, attention_mask=mask, use_cache=False).last_hidden_state
    (tokens.square().mean() + hidden.square().mean()).backward()
    found = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    return tokens.detach(), hidden.detach(), found


@needs_compiler
def test_compiled_blocks_take_rows_of_any_length_and_run_as_they_are_without_a_gradient():
    model = small.model(320).eval()
    rows = [torch.randn(2, count, model.config.width) for count in (4, 5, 6, 7)]
    plain = [model.language.model(inputs_embeds=row, use_cache=False).last_hidden_state for row in rows]
    counters.clear()
    with compiled(model):
        fast = [model.language.model(inputs_embeds=row, use_cache=False).last_hidden_state for row in rows]
        compilations = counters["stats"]["unique_graphs"]
        assert 1 <= compilations <= len(model.language.model.layers)
        with torch.no_grad():
            still = model.language.model(inputs_embeds=rows[0][:1], use_cache=False).last_hidden_state
        assert counters["stats"]["unique_graphs"] == compilations
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(plain, fast, strict=True))
    assert torch.allclose(still, plain[0][:1], atol=1e-5)
    assert "forward" not in vars(model.language.model.layers[0])


@pytest.mark.slow
@needs_compiler
def test_compiled_parts_give_the_same_gradients_and_are_themselves_again_afterwards():
    model = small.model(320).eval()
    side = model.config.image_size
    pixels = torch.randn(4, 3, side, side)
    plain = gradients(model, pixels, None)
    counters.clear()
    with compiled(model):
        fast = gradients(model, pixels, None)
        compilations = counters["stats"]["unique_graphs"]
        # Two towers, their fusion, and a graph that the blocks of the language model share or one for each.
        assert compilations >= 4
        with torch.no_grad():
            seen = model.fused_tokens(model.visual_features(pixels[:3]))
        assert counters["stats"]["unique_graphs"] == compilations
    assert torch.allclose(plain[0], fast[0], atol=1e-5) and torch.allclose(plain[1], fast[1], atol=1e-5)
    assert plain[2].keys() == fast[2].keys() and len(plain[2]) > 40
    for name, gradient in plain[2].items():
        assert torch.allclose(gradient, fast[2][name], atol=1e-5), name
    with torch.no_grad():
        assert torch.equal(seen, model.fused_tokens(model.visual_features(pixels[:3])))
    for part in (model, model.clip, model.dino, *model.language.model.layers):
        assert not {"features", "fused_tokens", "forward"} & vars(part).keys()


@pytest.mark.slow
@needs_compiler
def test_a_stage_that_is_compiled_ends_where_it_ends_otherwise_and_its_card_says_so(plan):
    for out, compile in ((plan.out / "plain", False), (plan.out / "fast", True)):
        train_stage(replace(plan, out=out, compile=compile), "tune")
    plain, fast = (read_json(plan.out / name / "card.json") for name in ("plain", "fast"))
    assert (plain["compiled"], fast["compiled"]) == (False, True) and plain["steps"] == fast["steps"] == 2
    # What dropout draws is another: near, and not the same.
    losses = [card["history"][-1]["language"] for card in (plain, fast)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.parametrize(
    ("device", "variable", "value", "said"),
    [
        ("cuda", "WORLD_SIZE", "1", "for a processor, and not for cuda"),
        ("cpu", "WORLD_SIZE", "2", "leave it out of a training under accelerate launch"),
        ("cpu", "CXX", "no-such-compiler", "there is no 'no-such-compiler'; install g\\+\\+"),
    ],
)
def test_where_nothing_can_be_compiled_the_error_says_why(monkeypatch, device, variable, value, said):
    monkeypatch.setenv(variable, value)
    model = small.model(320)
    with pytest.raises(UsageError, match=said), compiled(model, device):
        pass
    assert "features" not in vars(model.clip)


@pytest.mark.skipif(sys.platform == "win32", reason="the compiler that fails is a shell script")
def test_where_the_compiler_fails_the_error_says_what_to_install_and_what_it_said(tmp_path):
    compiler = tmp_path / "no-headers"
    compiler.write_text("#!/bin/sh\necho Python.h: No such file or directory >&2\nexit 1\n")
    compiler.chmod(0o755)
    # torch reads which compiler there is when it is imported, and remembers what it compiled before.
    learns = (
        "import torch\n"
        "from fakereasoning.acceleration import compiled\n"
        "from tests.fakereasoning import small\n"
        "model = small.model(320)\n"
        "with compiled(model):\n"
        "    model.language.model(inputs_embeds=torch.randn(2, 4, model.config.width), use_cache=False)\n"
    )
    environment = os.environ | {"CXX": str(compiler), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "kept")}
    command = [sys.executable, "-c", learns]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    last = ended.stderr[ended.stderr.index("fdr_bench.errors.UsageError") :]
    assert ended.returncode == 1
    assert "Install a C++ compiler and Python's headers (g++ and python3-dev on Debian)" in last
    assert "No working C++ compiler" in last and "TORCHDYNAMO_VERBOSE" not in last
