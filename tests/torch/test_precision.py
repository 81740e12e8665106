import pytest
import torch
from torch import nn

from noisyselect.torch.precision import autocast, resolve_precision

CPU = torch.device("cpu")


def capabilities(monkeypatch, **known):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize("device", ["cpu", "cuda", "meta"])
def test_a_named_precision_is_taken_on_any_device(name, device):
    assert resolve_precision(name, torch.device(device)) == name


def test_a_processor_with_matrix_units_computes_in_bfloat16(monkeypatch):
    capabilities(monkeypatch, amx_tile=True, amx_bf16=True)
    assert resolve_precision("auto", CPU) == "bfloat16"


@pytest.mark.parametrize("known", [{}, {"amx_bf16": False}, {"avx512_bf16": True}, {"neon": True}])
def test_a_processor_without_them_computes_in_float32(monkeypatch, known):
    capabilities(monkeypatch, **known)
    assert resolve_precision("auto", CPU) == "float32"


@pytest.mark.parametrize(("tiles", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_an_earlier_torch_is_asked_for_the_tiles(monkeypatch, tiles, expected):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles, raising=False)
    assert resolve_precision("auto", CPU) == expected


def test_a_torch_that_cannot_tell_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert resolve_precision("auto", CPU) == "float32"


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 5), "float32"), ((8, 0), "bfloat16"), ((8, 9), "bfloat16"), ((9, 0), "bfloat16")],
)
def test_cuda_devices_compute_in_bfloat16_from_capability_8_on(monkeypatch, capability, expected):
    asked = []
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda d: asked.append(d) or capability
    )
    assert resolve_precision("auto", torch.device("cuda:1")) == expected
    assert asked == [torch.device("cuda:1")]


def test_other_devices_compute_in_float32(monkeypatch):
    capabilities(monkeypatch, amx_bf16=True)
    assert resolve_precision("auto", torch.device("meta")) == "float32"


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="'auto', 'float32' or 'bfloat16', got 'float16'"):
        resolve_precision("float16", CPU)


def test_bfloat16_is_that_of_the_products_and_not_of_the_weights():
    layer, batch = nn.Linear(5, 3), torch.rand(4, 5)
    with autocast("bfloat16", CPU):
        rounded = layer(batch)
    assert rounded.dtype == torch.bfloat16
    rounded.float().sum().backward()
    assert {weight.dtype for weight in layer.parameters()} == {torch.float32}
    assert {weight.grad.dtype for weight in layer.parameters()} == {torch.float32}
    # 8 bits of mantissa, in the product and in each of its factors.
    torch.testing.assert_close(rounded.float(), layer(batch), rtol=0.02, atol=0.02)


def test_float32_changes_nothing():
    layer, batch = nn.Linear(5, 3), torch.rand(4, 5)
    with autocast("float32", CPU):
        assert torch.equal(layer(batch), layer(batch.clone()))
        assert layer(batch).dtype == torch.float32


def test_a_pass_sees_the_step_before_it_within_the_same_context():
    layer, batch = nn.Linear(5, 3), torch.rand(4, 5)
    with autocast("bfloat16", CPU):
        layer(batch)
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.fill_(2)
        assert torch.equal(layer(batch), torch.full((4, 3), 2, dtype=torch.bfloat16))


def test_a_pass_without_gradients_takes_none_from_the_next():
    layer, batch = nn.Linear(5, 3), torch.rand(4, 5)
    with autocast("bfloat16", CPU):
        with torch.no_grad():
            layer(batch)
        layer(batch).float().sum().backward()
    torch.testing.assert_close(layer.bias.grad, torch.full((3,), 4.0))
    assert layer.weight.grad.abs().min() > 0
