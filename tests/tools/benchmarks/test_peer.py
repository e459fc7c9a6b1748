"""Rows of another framework: the same names behind a prefix, and one line where it is not installed."""

from benchmarks import inference, peer_torch, step

PREFIX = "PyTorch: "


def test_each_row_of_the_peer_stands_beside_one_of_ours():
    for peers, ours in (
        (peer_torch.step_cases(), step.cases()),
        (peer_torch.inference_cases(), inference.cases()),
    ):
        names = [case.name for case in peers]
        assert all(name.startswith(PREFIX) for name in names) and len(set(names)) == len(names)
        assert {name.removeprefix(PREFIX) for name in names} <= {case.name for case in ours}


def test_what_is_missing_is_named_as_pip_does(monkeypatch):
    monkeypatch.setattr(peer_torch.importlib.util, "find_spec", lambda module: None)
    assert peer_torch.missing() == ["torch", "segmentation-models-pytorch", "timm"]
    monkeypatch.setattr(peer_torch.importlib.util, "find_spec", lambda module: object())
    assert peer_torch.missing() == []
