"""Videos: each frame through the network, its overlay into a new video. The only file that imports PyAV."""

import importlib.util
import itertools
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from etils import epath

from wss.data.dataset_info import DatasetInfo
from wss.data.masks import check_masks_hold
from wss.data.resize import ResizeToRange
from wss.errors import UserError, first_line
from wss.files import WriteError, whole
from wss.inference.photos import reduced_size
from wss.inference.pipelining import one_behind
from wss.inference.serving import CLASSES, serving_model
from wss.models.deeplab import DeepLab
from wss.progress import track
from wss.visualization.layout import with_legend
from wss.visualization.overlays import overlay

SUFFIX = ".mp4"


def require_videos() -> None:
    """Checks that PyAV is installed.

    Raises:
        UserError: It is not.
    """
    if importlib.util.find_spec("av") is None:
        raise UserError("PyAV is not installed, and videos need it: pip install 'wss[video]'")


def annotate(model: DeepLab, info: DatasetInfo, video: str | os.PathLike, output: Path, *, max_side: int) -> Path:
    """Writes a video whose frames have the overlay of what a network sees in them, without sound.

    Frames are read, segmented and written one after the other, so that a long video takes no more memory than a short one.

    Args:
        model: The trained network.
        info: The data set, for colours and names.
        video: The video, of any format that FFmpeg reads.
        output: Folder for <name of the video>_segmented.mp4 (H.264), at the size of the frames, a legend below them.
        max_side: Longest side at which the network sees a frame where no `ResizeToRange` says it.

    Returns:
        The path of the new video.

    Raises:
        UserError: The file is missing, no video, or ends in damage; what could be read is written then.
        WriteError: The new video cannot be written.
    """
    import av

    check_masks_hold(info.num_classes, info.directory or info.name)
    path = output / f"{Path(video).stem}_segmented{SUFFIX}"
    try:
        source = av.open(os.fspath(video))
    except (OSError, av.FFmpegError) as error:
        raise UserError(f"--video={video}: no video that can be read ({_reason(error)})") from error
    with source:
        if not source.streams.video:
            raise UserError(f"--video={video}: has no pictures in it; expected a video")
        stream = source.streams.video[0]
        stream.thread_type = "AUTO"
        frames = _Frames(source, stream)
        segmented = one_behind(_segmented(model, frames, max_side))
        shown = track(segmented, "segmenting", stream.frames or None, unit="frame")
        number = _write(shown, path, rate=stream.average_rate or Fraction(25), info=info)
    if not number:
        raise UserError(f"--video={video}: no frame can be read ({frames.damage or 'it is empty'})")
    if frames.damage:
        raise UserError(f"--video={video}: ends in damage after {number} frames ({frames.damage}); {path} has those")
    return path


def _write(segmented: Iterable[tuple[np.ndarray, tf.Tensor]], path: Path, *, rate: Fraction, info: DatasetInfo) -> int:
    """Writes frames with their overlays as a video, whole or, without any, not at all; returns their number."""
    import av

    first = next(iter(segmented := iter(segmented)), None)
    if first is None:
        return 0
    try:
        with whole(epath.Path(path), suffix=SUFFIX) as temporary:
            with av.open(os.fspath(temporary), "w", format="mp4") as target:
                encoder = _Encoder(target, rate, info)
                for frame, prediction in itertools.chain([first], segmented):
                    encoder.add(frame, prediction.numpy())
                encoder.close()
            return encoder.number
    except (OSError, ValueError, av.FFmpegError) as error:  # of the encoder: frames have no such errors any more
        raise WriteError(f"{path}: cannot be written ({_reason(error)})") from error


class _Frames:
    """The frames of a video as it is to be looked at: upright, uint8 [H, W, 3]."""

    def __init__(self, source: Any, stream: Any):
        self._source, self._stream, self.damage = source, stream, ""

    def __iter__(self) -> Iterator[np.ndarray]:
        import av

        first = None
        try:
            for number, frame in enumerate(self._source.decode(self._stream), 1):
                picture = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
                first = first or picture.shape
                if picture.shape != first:
                    self.damage = f"frame {number} has another size than the others"
                    return
                yield picture
        except av.FFmpegError as error:
            self.damage = _reason(error)


class _Encoder:
    """A video in the making; all frames have the size of the first, with even sides and a legend of all classes below."""

    def __init__(self, target: Any, rate: Fraction, info: DatasetInfo):
        self._target, self._rate, self._info = target, rate, info
        self._stream: Any = None
        self.number = 0

    def add(self, frame: np.ndarray, prediction: np.ndarray) -> None:
        """Encodes a frame [H, W, 3] with its prediction, class ids [H, W]."""
        import av

        picture = with_legend(overlay(frame, prediction, self._info), self._info, range(self._info.num_classes))
        height, width = (side + side % 2 for side in picture.shape[:2])
        picture = np.pad(picture, [(0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0)], "edge")
        if self._stream is None:
            self._stream = self._target.add_stream("libx264", rate=self._rate)
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        encoded = av.VideoFrame.from_ndarray(picture, format="rgb24")
        for packet in self._stream.encode(encoded):
            self._target.mux(packet)
        self.number += 1

    def close(self) -> None:
        """Encodes what waits."""
        for packet in self._stream.encode() if self._stream is not None else ():
            self._target.mux(packet)


def _segmented(model: DeepLab, frames: _Frames, max_side: int) -> Iterator[tuple[np.ndarray, tf.Tensor]]:
    """Yields each frame with its classes, int32 [H, W], which the device may still be working on."""
    segment = None
    for frame in frames:
        if segment is None:
            network = serving_model(model, resize=_resize(frame.shape[:2], max_side))
            segment = tf.function(lambda photos, network=network: network(photos, training=False)[CLASSES][0])
        yield frame, segment(tf.constant(frame[None]))


def _resize(size: tuple[int, int], max_side: int) -> ResizeToRange:
    """Returns the size at which frames are seen: that of gin, or else no more than `max_side`."""
    resize, reduced = ResizeToRange(), reduced_size(size[1], size[0], max_side)
    return resize if resize.min_size is not None or reduced == size[::-1] else ResizeToRange(min_size=min(reduced))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)
