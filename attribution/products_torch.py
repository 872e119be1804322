"""The products of `products` by torch, on the processor or a CUDA device: imported only when torch is asked for.

int8 products have a trap. Where a processor has no 8-bit dot product, oneDNN adds 128 to one operand and adds pairs of
products in 16 bits, saturating silently. In a matrix product that operand is the left one, and a right operand within
±63 is safe: 255·63·2 < 2**15. In a product with a single column it is the right one, and nothing is safe: measured with
ONEDNN_MAX_CPU_ISA=AVX512_CORE, wrong at ±63. So the right operand is filled up with zeros to a multiple of eight
columns, which is also quicker than one to seven.

float32 is never a carrier: TF32 and bf16 modes, which any caller may switch on, break it silently.
"""

import numpy as np
import torch

from attribution.errors import KernelError
from attribution.products import Int64, Integers, Path, Plan, padded, row_blocks, split

_INT8_BLOCK_ROWS = 1 << 12


def has_cuda() -> bool:
    """Whether a CUDA device is there."""
    return torch.cuda.is_available()


def torch_parts(left: Integers, right: Integers, plan: Plan, device: str) -> Int64:
    """Products of each digit of `left` with `right`, as planned. Shapes: (m, k), (k, c) -> (left digits, m, c).

    int8 products come joined: (1, m, c / right digits).

    Raises: KernelError when the device is not there.
    """
    if device == "cuda" and not has_cuda():
        raise KernelError("no CUDA device is there: choose another back end")
    with torch.inference_mode():
        match plan.path:
            case Path.INT8:
                parts = _int8_product(left, right, plan, device)
            case Path.INT64:
                parts = _int64_parts(left, right)
            case _:
                parts = _float_parts(left, right, plan, device)
    array: Int64 = parts.numpy()
    return array


def _float_parts(left: Integers, right: Integers, plan: Plan, device: str) -> torch.Tensor:
    parts = torch.zeros((plan.left_limbs, left.shape[0], right.shape[1]), dtype=torch.int64)
    for first in range(0, left.shape[1], plan.inner):
        inner = slice(first, first + plan.inner)
        carrier = torch.from_numpy(right[inner].astype(np.float64)).to(device)
        for rows in row_blocks(left.shape[0], plan.inner):
            block = _tensor(left[rows, inner]).to(device)
            digits = [block] if plan.left_limbs == 1 else split(block.long(), plan.left_bits, plan.left_limbs)
            for i, digit in enumerate(digits):
                parts[i, rows] += (digit.double() @ carrier).long().cpu()
    return parts


def _int8_product(left: Integers, right: Integers, plan: Plan, device: str) -> torch.Tensor:
    """The digits' products, joined while their block is in the cache. Shapes: (1, m, right columns / digits)."""
    rows, columns = left.shape[0], right.shape[1]
    n = columns // plan.right_limbs
    filled = np.zeros((right.shape[0], padded(columns)), dtype=np.int8)
    filled[:, :columns] = right
    carrier = torch.from_numpy(filled).to(device)
    product = torch.empty((1, rows, n), dtype=torch.int64)
    for start in range(0, rows, _INT8_BLOCK_ROWS):
        # A last block of a few rows would be less than CUDA takes: it begins earlier and repeats some.
        first = max(0, min(start, rows - _INT8_BLOCK_ROWS))
        block = slice(first, first + _INT8_BLOCK_ROWS)
        parts = torch._int_mm(_tensor(left[block]).to(device), carrier)
        total = parts[:, :n].long()
        for digit in range(1, plan.right_limbs):  # int32 shifted by at most 18 bits
            total += parts[:, digit * n : (digit + 1) * n].long() << digit * plan.right_bits
        product[0, block] = total.cpu()
    return product


def _int64_parts(left: Integers, right: Integers) -> torch.Tensor:
    carrier = _tensor(right).long()
    parts = torch.empty((1, left.shape[0], right.shape[1]), dtype=torch.int64)
    for rows in row_blocks(left.shape[0], left.shape[1]):
        parts[0, rows] = _tensor(left[rows]).long() @ carrier
    return parts


def _tensor(array: Integers) -> torch.Tensor:
    """The same memory where torch takes it: writable, in the machine's byte order, no negative stride; else a copy."""
    is_taken = array.flags.writeable and array.dtype.isnative and all(stride >= 0 for stride in array.strides)
    return torch.from_numpy(array if is_taken else np.array(array, dtype=array.dtype.newbyteorder("=")))
