"""`python -m lucid.metal`, in the emulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lucid
from lucid.metal import __main__ as command
from lucid.metal import check, peak
from lucid.metal.check import Case
from lucid.tuning import timing
import mlx.core as mx
import pytest

from tests.metal_emulator import emulated_metal

KERNELS = {"conv_forward", "conv_input_gradient", "conv_weight_gradient"}
LAYERS = {
    *("channel_sums", "channel_affine", "resample"),
    *("max_pool", "max_pool_gradient"),
}
TINY = {"tiny": check.KERNEL_CASES["tiny"]}
_TABLES = ("KERNEL_CASES", "LAYER_CASES", "PATH_CASES", "TIMED_CASES", "BENCHMARK")
SMALL = {
    "depthwise": Case((1, 4, 3, 3, 4), (4, 1, 3, 3, 3), {"padding": 1, "groups": 4})
}


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has the command use these cases; a table that is not named is empty."""

    def use(**cases: dict[str, Case]) -> None:
        for name in _TABLES:
            monkeypatch.setattr(command, name, cases.get(name, {}))

    monkeypatch.setattr(timing, "ROUNDS", (1, 1))
    monkeypatch.setattr(timing, "LAUNCHES", 1)
    monkeypatch.setattr(command, "TIMED_LAYERS", {})
    monkeypatch.setattr(peak, "COPIED", 2**10)
    monkeypatch.setattr(peak, "THREADS", 4)
    monkeypatch.setattr(peak, "ROUNDS", 2)
    use()
    return use


@pytest.mark.slow
def test_every_kernel_and_path_is_compared(capsys):
    with emulated_metal() as emulation:
        code = command.main(["--no-timings"])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert printed.endswith("all agree\n")
    assert emulation.type_errors() == []
    for name in (*check.KERNEL_CASES, *check.PATH_CASES):
        assert name in printed
    launched = {launch.name for launch in emulation.launches}
    assert launched >= {*KERNELS, "pad", "pad_adjoint", *LAYERS}
    paths = {row.split("  ")[0] for row in printed.splitlines()}
    ours, by_group = "Lucid's Metal kernels", "mx.conv3d by group"
    assert paths >= {ours, "patches", "mx.conv3d", by_group}


def test_it_succeeds_where_all_agree(tables, capsys):
    tables(KERNEL_CASES=TINY, PATH_CASES=TINY)
    with emulated_metal():
        assert command.main(["--no-timings"]) == 0
    assert capsys.readouterr().out.endswith("all agree\n")


def test_it_fails_where_a_kernel_is_wrong_or_refused(tables, monkeypatch, capsys):
    def wrong(x: mx.array, sides: Any, mode: str) -> mx.array:
        return check.padding.pad_ops(x, sides, mode) * 1.01

    def failing(*_: Any, **__: Any) -> mx.array:
        raise RuntimeError("[metal::Device] Unable to build metal library")

    tables(
        KERNEL_CASES={"depthwise, reflect": check.KERNEL_CASES["depthwise, reflect"]}
    )
    for broken in (wrong, failing):
        pair = check.PADS["pad"]._replace(kernel=broken)
        monkeypatch.setitem(check.PADS, "pad", pair)
        with emulated_metal():
            assert command.main(["--no-timings"]) == 1
        printed = capsys.readouterr().out
        assert printed.count("  DISAGREES\n") == 1
        assert "please report" in printed
    compiling, agreement, *_ = printed.split("\n\n")[1:]
    assert "FAILED: depthwise, reflect, float16: RuntimeError" in compiling
    assert "Unable to build metal library" in agreement


def test_compiling_comes_first_and_every_dtype_is_counted(tables, capsys):
    tables(KERNEL_CASES=TINY)
    with emulated_metal():
        command.main(["--no-timings"])
    machine, compiling, *_ = capsys.readouterr().out.split("\n\n")
    assert "MLX" in machine
    counted = {line[:24].strip(): line.split()[-3] for line in compiling.splitlines()}
    assert counted == {"compiled": "uses", **dict.fromkeys(check.CONVOLUTIONS, "3")}


def test_every_pass_is_timed(tables, capsys):
    tables(TIMED_CASES=SMALL)
    with emulated_metal():
        assert command.main(["--repeats", "1", "--launches", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    timed = [line.split() for line in lines if line.startswith("depthwise")]
    assert len(timed) == 6
    for *_, kernel, rate, _, _, threads, mlx in timed:
        assert float(kernel) > 0
        assert float(mlx) > 0
        assert float(rate) >= 0
        assert threads == "1024"


def test_a_failing_kernel_does_not_end_the_timings(tables, monkeypatch, capsys):
    def failing(*_: Any, **__: Any) -> mx.array:
        raise RuntimeError("[metal::Device] Unable to build metal library")

    tables(TIMED_CASES=SMALL)
    broken = check.CONVOLUTIONS["input gradient"]._replace(kernel=failing)
    monkeypatch.setitem(check.CONVOLUTIONS, "input gradient", broken)
    monkeypatch.setattr(peak, "multiply_add_kernel", failing)
    with emulated_metal():
        command.main(["--repeats", "1", "--launches", "1"])
    printed = capsys.readouterr().out
    assert printed.count("FAILED: RuntimeError: [metal::Device]") == 2
    assert "no peak: [metal::Device]" in printed
    assert sum(line.startswith("depthwise") for line in printed.splitlines()) == 6


def test_pytorch_has_a_column_where_it_is_installed(tables, monkeypatch, capsys):
    tables(TIMED_CASES=SMALL)
    beside = command.beside_torch
    monkeypatch.setattr(beside, "device", lambda: "mps")
    monkeypatch.setattr(beside, "version", lambda: "2.99")
    monkeypatch.setattr(beside, "medians", lambda *_: [1.5, 2.5, 3.5])
    with emulated_metal():
        command.main(["--repeats", "1", "--launches", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("PyTorch 2.99")
    timed = [line.split()[-1] for line in lines if line.startswith("depthwise")]
    assert timed == ["1.500", "2.500", "3.500"] * 2


def test_tuning_measures_and_keeps(tables, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("LUCID_CACHE", str(tmp_path))
    lucid.tuning.store.forget()
    tables(BENCHMARK=SMALL)
    with emulated_metal():
        assert command.main(["--no-timings", "--tune"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("measured here: ") == 6
    (file,) = tmp_path.glob("*.json")
    assert str(file) in printed
    assert not lucid.tuning.enabled()
    lucid.tuning.store.forget()


def test_quick_takes_two_of_each(tables, capsys):
    tables(KERNEL_CASES=dict.fromkeys("abcd", check.KERNEL_CASES["tiny"]))
    with emulated_metal():
        command.main(["--no-timings", "--quick"])
    lines = capsys.readouterr().out.splitlines()
    cases = [line[25:].split()[0] for line in lines if line.startswith("forward ")]
    assert cases[1:] == ["a", "b"]


def test_it_says_so_where_there_is_no_metal(monkeypatch, capsys):
    monkeypatch.setattr("lucid._device.has_metal", lambda: False)
    assert command.main([]) == 2
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "no Metal here" in printed
    monkeypatch.setattr("lucid._device.has_metal", lambda: True)
    monkeypatch.setenv("LUCID_METAL", "0")
    assert command.main([]) == 2
    assert "LUCID_METAL=0" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--repeats", "--launches"])
def test_it_wants_a_positive_number(option):
    with pytest.raises(SystemExit):
        command.main([option, "0"])
