"""Modified aligned Xception 41, 65 and 71 (DeepLab, research/deeplab/core/xception.py)."""

from collections.abc import Mapping

import keras

from wss.models.layers.convolution import AtrousSchedule, conv_bn, separable_conv_bn, truncated_normal

_INITIALIZER_STDDEV = 0.09

# Entry flow: (depth, stride) of each block; middle flow: number of units.
_ENTRY_FLOW = {
    "xception_41": ((128, 2), (256, 2), (728, 2)),
    "xception_65": ((128, 2), (256, 2), (728, 2)),
    "xception_71": ((128, 2), (256, 1), (256, 2), (728, 1), (728, 2)),
}
_MIDDLE_UNITS = {"xception_41": 8, "xception_65": 16, "xception_71": 16}


def xception(
    x: keras.KerasTensor, variant: str, *, output_stride: int, multi_grid: tuple[int, ...], batch_norm: Mapping
) -> dict[str, keras.KerasTensor]:
    """Applies Xception to a normalised image.

    Args:
        x: Keras tensor `[B, H, W, 3]`.
        variant: "xception_41", "xception_65" or "xception_71", which is also the root of the scopes.
        output_stride: 8, 16 or 32.
        multi_grid: Unit rates of the three convolutions of exit_flow/block2.
        batch_norm: Keyword arguments of `BatchNorm`.

    Returns:
        {name: Keras tensor}: the stem, the output of every block, and the second pointwise convolution of every entry
        block, under their names in DeepLab.
    """
    schedule = AtrousSchedule(output_stride, stem_stride=2)
    points = {}
    for name, filters, stride in (("conv1_1", 32, 2), ("conv1_2", 64, 1)):
        scope = f"{variant}/entry_flow/{name}"
        initializer = truncated_normal(_INITIALIZER_STDDEV)
        x = points[scope] = conv_bn(
            x, filters, 3, scope=scope, batch_norm=batch_norm, stride=stride, initializer=initializer
        )

    def block(
        x: keras.KerasTensor,
        name: str,
        depths: tuple[int, ...],
        skip: str | None,
        *,
        stride: int = 1,
        units: int = 1,
        unit_rates: tuple[int, ...] = (1, 1, 1),
    ) -> keras.KerasTensor:
        for unit in range(1, units + 1):
            stride_now, rate = schedule.next(stride)
            scope = f"{variant}/{name}/unit_{unit}/xception_module"
            rates = [rate * unit_rate for unit_rate in unit_rates]
            x, second = _module(
                x, scope, depths=depths, skip=skip, stride=stride_now, rates=rates, batch_norm=batch_norm
            )
        points[f"{variant}/{name}"] = x
        if name.startswith("entry_flow"):
            points[f"{scope}/separable_conv2_pointwise"] = second
        return x

    for i, (depth, stride) in enumerate(_ENTRY_FLOW[variant], 1):
        x = block(x, f"entry_flow/block{i}", (depth,) * 3, "conv", stride=stride)
    x = block(x, "middle_flow/block1", (728,) * 3, "sum", units=_MIDDLE_UNITS[variant])
    x = block(x, "exit_flow/block1", (728, 1024, 1024), "conv", stride=2)
    block(x, "exit_flow/block2", (1536, 1536, 2048), None, unit_rates=multi_grid)
    return points


def _module(
    x: keras.KerasTensor,
    scope: str,
    *,
    depths: tuple[int, ...],
    skip: str | None,
    stride: int,
    rates: list[int],
    batch_norm: Mapping,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Applies three separable convolutions and a skip: "conv", "sum" or None.

    The stride is in the third convolution. Activations come before each separable convolution; without a skip they are
    inside it, after both of its batch norms. Returns the output and that of the second convolution.
    """
    inside = skip is None
    name = scope.replace("/", ".")
    initializer = truncated_normal(_INITIALIZER_STDDEV)
    residual, outputs = x, []
    for i, (depth, rate) in enumerate(zip(depths, rates, strict=True), 1):
        if not inside:
            residual = keras.layers.Activation("relu", name=f"{name}.relu{i}")(residual)
        residual = separable_conv_bn(
            residual,
            depth,
            scope=f"{scope}/separable_conv{i}",
            batch_norm=batch_norm,
            activation="relu" if inside else None,
            stride=stride if i == 3 else 1,
            rate=rate,
            depthwise_initializer=initializer,
            pointwise_initializer=initializer,
        )
        outputs.append(residual)
    if skip == "conv":
        x = conv_bn(
            x,
            depths[-1],
            1,
            scope=f"{scope}/shortcut",
            batch_norm=batch_norm,
            activation=None,
            stride=stride,
            initializer=initializer,
        )
    if skip:
        residual = keras.layers.Add(name=f"{name}.add")([residual, x])
    return residual, outputs[1]
