"""Videos in, annotated videos out: frame by frame, whole or as far as they can be read, nothing half-written."""

import importlib

import av
import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of, small_model

from wss.data.resize import ResizeToRange
from wss.errors import UserError
from wss.inference.serving import serving_model
from wss.visualization import videos
from wss.visualization.layout import with_legend
from wss.visualization.overlays import overlay
from wss.visualization.videos import annotate


def video(path, *, frames=5, size=(66, 50), rate=10, codec="libx264"):
    """Writes a video of coloured noise in large squares, which a codec keeps."""
    draws = np.random.default_rng(0)
    with av.open(str(path), "w") as target:
        stream = target.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for _ in range(frames):
            squares = draws.integers(0, 256, (5, 6, 3)).astype(np.uint8)
            frame = np.kron(squares, np.ones((10, 11, 1), np.uint8))[: size[1], : size[0]]
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                target.mux(packet)
        for packet in stream.encode():
            target.mux(packet)
    return path


def frames_of(path):
    with av.open(str(path)) as source:
        return [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)], source.streams.video[
            0
        ].average_rate


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("avi", "mpeg4"), ("mkv", "libx264")])
def test_every_frame_has_its_overlay(tmp_path, suffix, codec):
    network, info = small_model(), dataset_of(4)
    source = video(tmp_path / f"a clip.{suffix}", codec=codec)
    path = annotate(network, info, source, tmp_path / "out", max_side=1000)
    assert path == tmp_path / "out/a clip_segmented.mp4"
    (found, rate), (frames, _) = frames_of(path), frames_of(source)
    assert len(found) == len(frames) == 5 and rate == 10
    model = serving_model(network, resize=ResizeToRange())
    for got, frame in zip(found, frames, strict=True):
        prediction = model(frame[None])["classes"][0].numpy()
        expected = with_legend(overlay(frame, prediction, info), info, range(4))
        assert got.shape[0] - expected.shape[0] in (0, 1) and got.shape[1] - expected.shape[1] in (0, 1)
        difference = np.abs(got[: expected.shape[0], : expected.shape[1]].astype(int) - expected)
        assert difference.mean() < 12  # the codec's
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a clip_segmented.mp4"]


def test_large_frames_are_reduced_for_the_network_alone(tmp_path, monkeypatch):
    seen = []
    original = videos.serving_model
    monkeypatch.setattr(
        videos, "serving_model", lambda model, resize: seen.append(resize) or original(model, resize=resize)
    )
    source = video(tmp_path / "a.mp4", size=(66, 50), frames=2)
    found, _ = frames_of(annotate(small_model(), dataset_of(4), source, tmp_path, max_side=33))
    assert seen == [ResizeToRange(min_size=25)] and found[0].shape[1] == 66


def test_what_is_damaged_at_its_end_is_written_so_far(tmp_path):
    source = video(tmp_path / "a.mkv", frames=200)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    try:
        path = annotate(small_model(), dataset_of(4), source, tmp_path / "out", max_side=1000)
    except UserError as error:
        assert "ends in damage after" in str(error) and "\n" not in str(error)
        path = tmp_path / "out/a_segmented.mp4"
    assert 0 < len(frames_of(path)[0]) < 200


@pytest.mark.parametrize("content", [b"", b"no video" * 100])
def test_no_video(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.mp4: no video that can be read \(.+\)$"):
        annotate(small_model(), dataset_of(4), tmp_path / "a.mp4", tmp_path / "out", max_side=1000)
    assert not (tmp_path / "out").exists()


def test_missing_and_without_pictures(tmp_path):
    with pytest.raises(UserError, match=r"gone\.mp4: no video that can be read \(No such file"):
        annotate(small_model(), dataset_of(4), tmp_path / "gone.mp4", tmp_path, max_side=1000)
    with av.open(str(tmp_path / "a.wav"), "w") as target:
        stream = target.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        for packet in [*stream.encode(frame), *stream.encode()]:
            target.mux(packet)
    with pytest.raises(UserError, match=r"a\.wav: has no pictures in it"):
        annotate(small_model(), dataset_of(4), tmp_path / "a.wav", tmp_path, max_side=1000)


def test_a_video_that_cannot_be_written(tmp_path):
    source = video(tmp_path / "a.mp4", frames=2)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match=r"out/a_segmented\.mp4: cannot be written \("):
        annotate(small_model(), dataset_of(4), source, tmp_path / "out", max_side=1000)


def test_what_the_network_raises_is_not_taken_for_the_files(tmp_path, monkeypatch):
    def out_of_memory(photos, training):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

    monkeypatch.setattr(videos, "serving_model", lambda model, resize: out_of_memory)
    source = video(tmp_path / "a.mp4", frames=2)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        annotate(small_model(), dataset_of(4), source, tmp_path / "out", max_side=1000)
    assert not (tmp_path / "out").exists()


def test_more_classes_than_have_colours(tmp_path):
    with pytest.raises(UserError, match="256 classes; a mask has 255 values"):
        annotate(small_model(), dataset_of(256), tmp_path / "a.mp4", tmp_path, max_side=1000)


def test_pyav_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'wss\[video\]'"):
        videos.require_videos()
