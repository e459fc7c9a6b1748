"""VGG16's fully connected layers as the smaller convolutions of VGG16-LargeFOV."""

import numpy as np

from wss.errors import UserError

_POSITIONS, _OUTPUTS = 3, 4  # of the 7x7 pixels every third along a side; every fourth channel
_SHAPES = {
    "fc6/weights": ((7 * 7 * 512, 4096), (7, 7, 512, 4096)),
    "fc6/biases": ((4096,),),
    "fc7/weights": ((4096, 4096), (1, 1, 4096, 4096)),
    "fc7/biases": ((4096,),),
}


def decimated(value: np.ndarray, name: str) -> np.ndarray:
    """Returns a variable of VGG16's first two fully connected layers as one of VGG16-LargeFOV's fc6 and fc7.

    fc6 keeps rows and columns 0, 3 and 6 of its 7x7 and every fourth of 4096 outputs, fc7 the same channels on both sides.
    Pixels 3 apart on VGG's grid of stride 32 are 12 apart at stride 8, which is the rate of fc6. The initial weights of
    DeepLab-LargeFOV (Chen et al., ICLR 2015) were decimated so, and SSD's in the same way.

    What remains is not rescaled, although fc6 then sums 9 of 49 pixels and fc7 a quarter of its inputs. So it is there.

    Args:
        value: The variable, kernels as matrices or as convolutions, HWIO. Rows of a matrix run over height, width, channels.
        name: "fc6/weights", "fc6/biases", "fc7/weights" or "fc7/biases".

    Raises:
        UserError: A shape that is not VGG16's.
    """
    if value.shape not in _SHAPES[name]:
        raise UserError(
            f"weights: {name} has shape {value.shape}, expected VGG16's {_SHAPES[name][0]}, as images of 224 pixels give it"
        )
    if name.endswith("/biases"):
        return value[::_OUTPUTS]
    if name == "fc6/weights":
        return value.reshape(7, 7, 512, 4096)[::_POSITIONS, ::_POSITIONS, :, ::_OUTPUTS]
    return value.reshape(1, 1, 4096, 4096)[..., ::_OUTPUTS, ::_OUTPUTS]
