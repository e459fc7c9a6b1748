"""Makes dinov2_tiny.npz: a tiny DINOv2 by transformers, its positions by PyTorch's interpolation, and DPT's head by PyTorch.

    pip install torch transformers numpy; python make_dinov2.py

Blocks are those of `transformers.Dinov2Backbone` 5.24 (torch 2.13). Positions are resampled as in DINOv2's own
vision_transformer.py: bicubic by the factor (n + 0.1) / grid; with registers (transformers' and DINOv2's) antialiased to the
size. The head is UniMatch V2's, from its description. Weights follow `weight`, by the names of wss; the file has outputs.
"""

import zlib
from pathlib import Path

import numpy as np

PATCH, DEPTH, HEADS, BLOCKS, GRID, CLASSES = 14, 32, 4, 4, 5, 3
WIDTH, DEPTHS = 5, (4, 8, 16, 32)  # of the head
SIZES = ((70, 70), (84, 126), (42, 56))


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the values of a weight, float32, by its name and shape."""
    draw = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    last = name.rpartition("/")[2]
    if last == "gamma" or last == "lambda1":
        return draw.uniform(0.8, 1.2, shape).astype(np.float32)
    if last in ("beta", "bias"):
        return draw.normal(0, 0.1, shape).astype(np.float32)
    if last == "kernel":
        # Of (D, heads, D / heads) and of (heads, D / heads, D) the inputs are D.
        inputs = DEPTH if "attention" in name else np.prod(shape[:-1])
        return (draw.normal(0, 1, shape) / np.sqrt(inputs)).astype(np.float32)
    return draw.normal(0, 0.5, shape).astype(np.float32)


def image(size: tuple[int, int]) -> np.ndarray:
    """Returns a normalised image, float32 [1, H, W, 3]."""
    return np.random.RandomState(size[0] * 1000 + size[1]).normal(0, 1, (1, *size, 3)).astype(np.float32)


def main() -> None:
    """Writes the golden beside this file."""
    outputs = {}
    for registers in (0, 4):
        backbone = reference(registers)
        for size in SIZES:
            maps = taps(backbone, size, registers)
            for number, values in enumerate(maps, 1):
                outputs[f"registers_{registers}/{size[0]}x{size[1]}/block{number}"] = values[0].permute(1, 2, 0).numpy()
            if not registers:
                outputs[f"dpt/{size[0]}x{size[1]}"] = dpt(maps)[0].permute(1, 2, 0).numpy()
    np.savez_compressed(Path(__file__).parent / "dinov2_tiny.npz", **outputs)


def reference(registers: int):
    """Returns transformers' backbone with the weights of the rule."""
    import torch
    from transformers import Dinov2Backbone, Dinov2Config, Dinov2WithRegistersBackbone, Dinov2WithRegistersConfig

    common = {
        "hidden_size": DEPTH,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": HEADS,
        "mlp_ratio": 2,
        "image_size": GRID * PATCH,
        "patch_size": PATCH,
        "out_features": [f"stage{number}" for number in range(1, BLOCKS + 1)],
        "attn_implementation": "eager",
    }
    if registers:
        model = Dinov2WithRegistersBackbone(Dinov2WithRegistersConfig(num_register_tokens=registers, **common))
    else:
        model = Dinov2Backbone(Dinov2Config(**common))
    values = {}
    for name, parameter in model.named_parameters():
        ours, shape, back = named_as_in_wss(name, tuple(parameter.shape))
        values[name] = torch.tensor(back(weight(ours, shape)))
    model.load_state_dict(values, strict=True)
    return model.eval()


def named_as_in_wss(  # noqa: C901  a table
    name: str, shape: tuple[int, ...]
):
    """Returns name and shape of a weight in wss, and the function that brings its values to PyTorch's shape."""
    heads = (HEADS, DEPTH // HEADS)
    as_is = lambda value: value
    tokens = {
        "cls_token": "class_token",
        "register_tokens": "register_tokens",
        "position_embeddings": "position_embeddings",
    }
    if (last := name.rpartition(".")[2]) in tokens:
        return f"vision_transformer/{tokens[last]}", shape, as_is
    if name.endswith("mask_token"):
        return "mask_token", shape, as_is
    if "patch_embeddings" in name:
        ours = f"embeddings/patch_embeddings/projection/{'kernel' if last == 'weight' else 'bias'}"
        if last == "bias":
            return ours, shape, as_is
        return ours, (PATCH, PATCH, 3, DEPTH), lambda value: value.transpose(3, 2, 0, 1).copy()
    if name.startswith("layernorm"):
        return f"layernorm/{'gamma' if last == 'weight' else 'beta'}", shape, as_is
    _, _, number, rest = name.split(".", 3)
    block = f"encoder/layers_{number}"
    if rest.startswith("norm"):
        return f"{block}/{rest[:5]}/{'gamma' if last == 'weight' else 'beta'}", shape, as_is
    if rest.startswith("layer_scale"):
        return f"{block}/{rest[:12]}/lambda1", shape, as_is
    kind = "kernel" if last == "weight" else "bias"
    if rest.startswith("mlp"):
        ours = f"{block}/mlp/{rest[4:7]}/{kind}"
        return (ours, shape, as_is) if kind == "bias" else (ours, shape[::-1], lambda value: value.T.copy())
    parts = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "o_proj": "attention_output"}
    part = parts[rest.split(".")[1]]
    ours = f"{block}/attention/attention/{part}/{kind}"
    if part == "attention_output":
        if kind == "bias":
            return ours, shape, as_is
        return ours, (*heads, DEPTH), lambda value: value.reshape(DEPTH, DEPTH).T.copy()
    if kind == "bias":
        return ours, heads, lambda value: value.reshape(DEPTH)
    return ours, (DEPTH, *heads), lambda value: value.reshape(DEPTH, DEPTH).T.copy()


def taps(model, size: tuple[int, int], registers: int):
    """Returns the maps [1, D, h, w] of all blocks, after the last layer norm."""
    import torch
    from torch.nn import functional

    def resampled(embeddings, height: int, width: int):
        table = model.embeddings.position_embeddings
        rows, columns = height // PATCH, width // PATCH
        if (rows, columns) == (GRID, GRID):
            return table
        grid = table[:, 1:].reshape(1, GRID, GRID, DEPTH).permute(0, 3, 1, 2)
        if registers:
            grid = functional.interpolate(grid, size=(rows, columns), mode="bicubic", antialias=True)
        else:
            factors = ((rows + 0.1) / GRID, (columns + 0.1) / GRID)
            grid = functional.interpolate(grid, scale_factor=factors, mode="bicubic")
        return torch.cat((table[:, :1], grid.permute(0, 2, 3, 1).reshape(1, -1, DEPTH)), dim=1)

    model.embeddings.interpolate_pos_encoding = resampled
    with torch.no_grad():
        return model(torch.tensor(image(size).transpose(0, 3, 1, 2).copy())).feature_maps


def dpt(maps):
    """Returns logits [1, C, 8 h, 8 w] of UniMatch V2's head on four maps."""
    import torch
    from torch.nn import functional

    def conv(x, name: str, filters: int, size: int, *, bias: bool = True, **options):
        kernel = torch.tensor(weight(f"{name}/kernel", (size, size, x.shape[1], filters)).transpose(3, 2, 0, 1).copy())
        return functional.conv2d(
            x, kernel, torch.tensor(weight(f"{name}/bias", (filters,))) if bias else None, **options
        )

    def transposed(x, name: str, factor: int):
        # Keras keeps (h, w, out, in), PyTorch (in, out, h, w).
        kernel = weight(f"{name}/kernel", (factor, factor, x.shape[1], x.shape[1])).transpose(3, 2, 0, 1).copy()
        return functional.conv_transpose2d(
            x, torch.tensor(kernel), torch.tensor(weight(f"{name}/bias", (x.shape[1],))), factor
        )

    def unit(x, name: str):
        inner = conv(functional.relu(x), f"{name}_conv_1", WIDTH, 3, padding=1)
        return x + conv(functional.relu(inner), f"{name}_conv_2", WIDTH, 3, padding=1)

    with torch.no_grad():
        resized = []
        for level, (x, depth) in enumerate(zip(maps, DEPTHS, strict=True), 1):
            x = conv(x, f"project_{level}", depth, 1)
            if level < 3:
                x = transposed(x, f"resize_{level}", 4 // level)
            elif level == 4:
                x = conv(x, "resize_4", depth, 3, stride=2, padding=1)
            resized.append(conv(x, f"fusion_input_{level}", WIDTH, 3, padding=1, bias=False))
        path = resized[3]
        for level in (4, 3, 2, 1):
            if level < 4:
                path = path + unit(resized[level - 1], f"fusion_{level}_unit_1")
            path = unit(path, f"fusion_{level}_unit_2")
            like = resized[level - 2].shape[2:] if level > 1 else [2 * side for side in path.shape[2:]]
            path = functional.interpolate(path, size=tuple(like), mode="bilinear", align_corners=True)
            path = conv(path, f"fusion_{level}_out", WIDTH, 1)
        return conv(functional.relu(conv(path, "output_conv", WIDTH, 3, padding=1)), "logits.semantic", CLASSES, 1)


if __name__ == "__main__":
    main()
