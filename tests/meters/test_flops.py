from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from torpor.core.errors import MeterError
from torpor.meters import count_flops, counting


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> object:
        return self.function(*inputs)


def attend(query: Tensor, key: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, key)


def dense(*shape: int) -> Tensor:
    return torch.zeros(shape)


@pytest.mark.parametrize(
    ("module", "inputs", "flops"),
    [
        pytest.param(nn.Linear(10, 4), [dense(3, 10)], 2 * 3 * 10 * 4, id="linear"),
        pytest.param(nn.Linear(10, 4, bias=False), [dense(2, 3, 10)], 2 * 6 * 10 * 4, id="linear-no-bias"),
        pytest.param(nn.Conv2d(3, 5, 3, padding=1), [dense(2, 3, 8, 8)], 2 * 2 * 64 * 5 * 27, id="conv"),
        pytest.param(nn.Conv2d(4, 8, 3, stride=2), [dense(1, 4, 9, 7)], 2 * 4 * 3 * 8 * 36, id="conv-stride"),
        pytest.param(nn.Conv2d(4, 8, 3, groups=2), [dense(1, 4, 6, 6)], 2 * 16 * 8 * 18, id="conv-groups"),
        pytest.param(nn.ConvTranspose2d(3, 5, 2, stride=2), [dense(1, 3, 4, 4)], 2 * 16 * 3 * 20, id="conv-transposed"),
        pytest.param(nn.Conv1d(4, 8, 3), [dense(1, 4, 6)], 2 * 4 * 8 * 12, id="conv1d"),
        pytest.param(Apply(torch.bmm), [dense(2, 3, 4), dense(2, 4, 5)], 2 * 2 * 3 * 4 * 5, id="bmm"),
        pytest.param(Apply(torch.matmul), [dense(6, 3, 4), dense(4)], 2 * 6 * 3 * 4, id="matrix-vector"),
        pytest.param(Apply(torch.addmv), [dense(3), dense(3, 4), dense(4)], 2 * 3 * 4, id="addmv"),
        pytest.param(Apply(torch.dot), [dense(7), dense(7)], 2 * 7, id="dot"),
        pytest.param(
            Apply(attend), [dense(2, 4, 5, 8), dense(2, 4, 9, 8)], 2 * 2 * (2 * 4) * 5 * 9 * 8, id="attention"
        ),
        pytest.param(nn.GRU(4, 6), [dense(5, 2, 4)], 2 * 5 * 2 * (4 + 6) * 18, id="gru"),
        pytest.param(
            nn.Sequential(nn.BatchNorm2d(3), nn.Hardswish(), nn.ReLU6(), nn.MaxPool2d(2), nn.Dropout(), nn.Softmax(1)),
            [dense(1, 3, 4, 4)],
            0,
            id="free",
        ),
    ],
)
def test_hand_counts(module: nn.Module, inputs: list[Tensor], flops: int) -> None:
    assert count_flops(module, *inputs) == flops

    def inference(*tensors: Tensor) -> object:
        with torch.inference_mode():
            return module.eval()(*tensors)

    assert count_flops(Apply(inference), *inputs) == flops


FREE = {
    "integers": lambda x: (x.long() // 3 % 5 & 3 ^ 1 | 2) << 1,
    "in place": lambda x: x.clone().floor_divide_(3).index_add_(0, torch.tensor([0]), x[:1]).clamp_(0, 1),
    "counting": lambda x: (torch.histc(x), torch.bincount(x.long().flatten()), x.unique(), x.median(), x.mode()),
    "places": lambda x: (x.topk(2), x.argsort(), x.nonzero(), torch.searchsorted(x[0], x), torch.bucketize(x, x[0])),
    "moving": lambda x: (x.index_copy(0, torch.tensor([0]), x[:1]), x.masked_scatter(x > 0, x), x.take(x.long()[0])),
    "softmax": lambda x: torch.ops.aten._safe_softmax(x, -1),
    "running": lambda x: (x.cummax(0), x.logcumsumexp(0), x.cumprod(0), torch.isin(x, x[0])),
    "resampling": lambda x: (
        F.interpolate(x[None, None], scale_factor=2, mode="bicubic"), F.pad(x[None], (1, 1), "reflect"),
        F.grid_sample(x[None, None], torch.zeros(1, 2, 2, 2), align_corners=False),
    ),
    "gating": lambda x: (F.glu(x), F.prelu(x, torch.ones(1)), torch.polar(x, x), F.normalize(x), F.mse_loss(x, x)),
    "noise": lambda x: (x.softmax(-1).multinomial(1), x.uniform_(), x.normal_(), torch.randperm(3)),
    "blanks": lambda x: (x.numel(), torch.empty_like(x), x.new_zeros(2), torch.tril(x), torch.eye(3), x.isnan().all()),
}  # fmt: skip


@pytest.mark.parametrize("kind", FREE)
def test_elementwise_and_moving_operators_are_free_by_kind(kind: str) -> None:
    assert count_flops(Apply(FREE[kind]), torch.rand(4, 6)) == 0


UNKNOWN = {
    "_linalg_det": torch.linalg.det,
    "linalg_inv_ex": torch.linalg.inv,
    "linalg_cholesky_ex": lambda x: torch.linalg.cholesky(x @ x.T + torch.eye(4)),
    "_linalg_svd": torch.linalg.svd,
    "_linalg_eigh": torch.linalg.eigh,
    "linalg_matrix_exp": torch.linalg.matrix_exp,
    "linalg_qr": torch.linalg.qr,
    "_cdist_forward": lambda x: torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist"),
    "_trilinear": lambda x: F.bilinear(x, x, torch.rand(2, 4, 4)),
    "_fft_r2c": torch.fft.rfft,
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_multiplying_operators_without_a_formula_fail_loudly(name: str) -> None:
    with pytest.raises(MeterError, match=f"formula, got aten.{name}"):
        count_flops(Apply(UNKNOWN[name]), torch.rand(4, 4))


def test_products_in_groups_are_counted() -> None:
    ends = torch.tensor([2, 2, 7], dtype=torch.int32)
    rows, weights = torch.rand(7, 16), torch.rand(3, 16, 8)
    assert count_flops(Apply(lambda x, w: F.grouped_mm(x, w, offs=ends)), rows, weights) == 2 * 7 * 16 * 8


def test_products_of_bytes_are_counted() -> None:
    left, right = torch.ones(17, 8, dtype=torch.int8), torch.ones(8, 16, dtype=torch.int8)
    assert count_flops(Apply(torch._int_mm), left, right) == 2 * 17 * 8 * 16


@pytest.mark.parametrize("large", [1, 100, 10_000])
def test_shapes_alone_have_the_same_flops_and_take_no_memory(large: int) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GELU(), nn.Flatten(2), nn.Linear(36, 36)).eval()
    images = torch.rand(2, 3, 8, 8)
    with counting() as real:
        wanted = net(images)
    with counting(large) as shapes:
        found = net(images)
    assert shapes.flops == real.flops > 0
    assert (found.shape, found.dtype, found.device) == (wanted.shape, wanted.dtype, wanted.device)
    assert (found.untyped_storage().nbytes() < wanted.untyped_storage().nbytes()) == (large < wanted.numel())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_operators_without_a_formula_fail_loudly() -> None:
    with pytest.raises(MeterError, match="_fft_c2c"):
        count_flops(Apply(torch.fft.fft2), dense(1, 3, 8, 8))
    with pytest.raises(MeterError, match=r"torch\.cond"):
        count_flops(Apply(lambda x: torch.cond(x.sum() > 0, lambda y: y @ y, lambda y: y + 1, (x,))), dense(2, 2))


@pytest.mark.skipif(not torch.backends.quantized.supported_engines, reason="needs a quantized engine")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_int8_layers_fail_loudly() -> None:
    net = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4)), {nn.Linear})
    with pytest.raises(MeterError, match=r"quantized\.linear_dynamic"):
        count_flops(net, dense(3, 4))


@pytest.mark.filterwarnings("ignore:TF32 acceleration:UserWarning")
@pytest.mark.parametrize("fused", [True, False])
def test_fused_operators_of_standard_modules_are_counted_as_their_parts(fused: bool) -> None:
    """By hand, with the fused kernels that torch takes in evaluation mode and without; its setting stays."""
    torch.manual_seed(0)
    layer, lstm = (
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        nn.LSTM(4, 6, num_layers=2, bidirectional=True),
    )
    projections, attention, feed_forward = 4 * 3 * 8 * 8, 2 * 3 * 3 * 8, 2 * 3 * 8 * 16
    was_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fused)
    try:
        with torch.backends.mkldnn.flags(enabled=fused):
            assert count_flops(layer, dense(1, 3, 8)) == 2 * (projections + attention + feed_forward)
            found = count_flops(nn.TransformerEncoder(layer, 2), dense(2, 3, 8))
            assert found == 2 * 2 * 2 * (projections + attention + feed_forward)
            assert count_flops(lstm, dense(5, 2, 4)) == 2 * 5 * 2 * 2 * ((4 + 6) + (12 + 6)) * 24
        assert torch.backends.mha.get_fastpath_enabled() == fused
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fast)


def test_the_fused_path_of_a_layer_gives_what_the_counted_one_does() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    inputs = dense(2, 3, 8)
    with torch.no_grad():
        fused = layer(inputs)
    with counting() as counter:
        plain = layer(inputs)
    assert torch.allclose(fused, plain, atol=1e-6)
    assert counter.flops > 0


def test_agrees_with_torch_where_torch_knows_every_operator() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, groups=4), nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10),
    ).eval()  # fmt: skip
    images = torch.rand(2, 3, 16, 16)
    with FlopCounterMode(display=False) as reference:
        net(images)
    assert count_flops(net, images) == reference.get_total_flops() > 0


def test_modes_are_restored_part_by_part() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), nn.Conv2d(3, 3, 1))
    net.train()
    net[0].eval()  # a frozen normalization inside a network in training
    count_flops(net, dense(1, 3, 4, 4))
    assert [part.training for part in net.modules()] == [True, False, True, True]
    with pytest.raises(RuntimeError):
        count_flops(net, dense(1, 4, 4, 4))
    assert [part.training for part in net.modules()] == [True, False, True, True]


def test_counting_leaves_normalization_statistics_alone() -> None:
    norm = nn.BatchNorm2d(3).train()
    count_flops(norm, torch.rand(4, 3, 2, 2))
    assert norm.num_batches_tracked is not None
    assert norm.num_batches_tracked.item() == 0


def test_a_block_of_code_is_counted() -> None:
    weights = torch.rand(4, 5, requires_grad=True)
    with counting() as counter:
        product = torch.rand(3, 4) @ weights
        product.relu().sum()
    assert counter.flops == 2 * 3 * 4 * 5
    assert not product.requires_grad


EAGER = """
import sys
import torch
from torch import nn
from torpor.attacks.unmasked import Tape
from torpor.meters import count_flops

layers = nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Upsample(scale_factor=2), nn.AvgPool2d(2), nn.Flatten(), nn.Softmax(-1)
network = nn.Sequential(*layers)
count_flops(network, torch.zeros(2, 1, 8, 8))
sent = torch.zeros(2, 1, 8, 8)
with Tape(sent):
    network(sent)
print("torch._dynamo" in sys.modules)
"""


def test_counting_does_not_import_torch_s_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", EAGER], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
