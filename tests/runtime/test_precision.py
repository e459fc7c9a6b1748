"""Policies that a processor has no instructions for are named, from what Linux says of it."""

import pytest

from wss.runtime import precision


def processor(tmp_path, monkeypatch, text):
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(precision, "PROCESSOR", path)


@pytest.mark.parametrize(
    ("policy", "flags", "slow"),
    [
        ("mixed_bfloat16", "fpu avx2 fma", True),
        ("mixed_bfloat16", "fpu avx512f avx512_bf16", False),
        ("mixed_bfloat16", "fpu amx_bf16 amx_tile", False),
        ("mixed_float16", "fpu avx512f avx512_bf16", True),
        ("mixed_float16", "avx512_fp16", False),
        ("float32", "fpu", False),
    ],
)
def test_a_policy_without_instructions_is_slow(tmp_path, monkeypatch, policy, flags, slow):
    processor(tmp_path, monkeypatch, f"processor\t: 0\nmodel name\t: some\nflags\t\t: {flags}\nbugs\t: none\n")
    words = precision.slow_precision(policy)
    assert (words is not None) == slow
    assert not slow or (policy in words and "slower than float32" in words)


@pytest.mark.parametrize("text", [None, "", "processor : 0\nFeatures : asimd bf16\n"])
def test_nothing_is_said_of_a_processor_that_nobody_knows(tmp_path, monkeypatch, text):
    processor(tmp_path, monkeypatch, text)
    assert precision.slow_precision("mixed_bfloat16") is None
