"""Which implementation is chosen, what is said about it, and what is refused."""

import sys
import types

import numpy as np
import pytest
import torch

from sspnerf.errors import BackendError
from sspnerf.ops import backend as backends

CPU, GPU, ELSEWHERE = torch.device("cpu"), torch.device("cuda"), torch.device("meta")


@pytest.fixture
def ask(monkeypatch):
    def set_variable(name):
        if name is None:
            monkeypatch.delenv(backends.BACKEND_VARIABLE, raising=False)
        else:
            monkeypatch.setenv(backends.BACKEND_VARIABLE, name)

    return set_variable


@pytest.fixture
def broken_numba(monkeypatch):
    monkeypatch.setattr(backends, "_numba_failure", lambda: "no numba for this processor")


@pytest.fixture
def triton_says(monkeypatch):
    """Pretend that Triton starts here, or does not for a reason."""

    def answer(failure):
        monkeypatch.setattr(backends, "_triton_failure", lambda *, is_interpreted: failure)

    return answer


@pytest.fixture
def interpret(monkeypatch):
    """Let Triton interpret its kernels, or not."""

    def switch(is_on):
        monkeypatch.setenv(backends.INTERPRET_VARIABLE, "1" if is_on else "0")

    return switch


@pytest.mark.parametrize("asked", [None, "auto", "numba"])
def test_the_cpu_runs_compiled_kernels(ask, asked):
    ask(asked)
    assert backends.choose(CPU).name == "numba"


def test_asking_for_the_reference_gives_it_and_says_why(ask):
    ask("reference")
    assert backends.choose(CPU) == ("reference", "SSPNERF_BACKEND asks for it")


def test_another_device_falls_back_and_says_why(ask):
    ask(None)
    assert backends.choose(ELSEWHERE) == ("reference", "numba runs on the CPU, not on meta")


def test_a_broken_numba_falls_back_and_says_why(ask, broken_numba):
    ask(None)
    assert backends.choose(CPU) == ("reference", "no numba for this processor")


@pytest.mark.refuses
def test_asking_for_a_broken_numba_is_refused(ask, broken_numba):
    ask("numba")
    with pytest.raises(BackendError, match="cannot run: no numba for this processor") as caught:
        backends.choose(CPU)
    assert "reference" in caught.value.hint


@pytest.mark.refuses
def test_asking_for_numba_on_another_device_is_refused(ask):
    ask("numba")
    with pytest.raises(BackendError, match="not on meta"):
        backends.choose(ELSEWHERE)


@pytest.mark.parametrize("asked", [None, "auto", "triton"])
def test_a_gpu_runs_kernels_compiled_for_it(ask, triton_says, asked):
    ask(asked)
    triton_says(None)
    assert backends.choose(GPU) == ("triton", "compiled kernels for CUDA devices")


def test_a_broken_triton_falls_back_and_says_why(ask, triton_says):
    ask(None)
    triton_says("triton cannot start here: no compiler")
    assert backends.choose(GPU) == ("reference", "triton cannot start here: no compiler")


def test_a_triton_that_is_not_there_is_no_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    failure = backends._triton_failure.__wrapped__(is_interpreted=False)
    assert failure.startswith("triton cannot start here: import of triton halted")


@pytest.mark.parametrize("is_on", [True, False])
def test_the_cpu_never_interprets_kernels_for_the_gpu_unasked(ask, interpret, is_on):
    ask(None)
    interpret(is_on)
    assert backends.choose(CPU).name == "numba"


def test_the_cpu_interprets_kernels_for_the_gpu_if_asked_twice(ask, triton_says, interpret):
    ask("triton")
    triton_says(None)
    interpret(True)
    reason = "kernels for CUDA devices, interpreted: TRITON_INTERPRET=1"
    assert backends.choose(CPU) == ("triton", reason)


@pytest.mark.refuses
def test_asking_for_triton_on_the_cpu_alone_is_refused(ask, triton_says, interpret):
    ask("triton")
    triton_says(None)
    interpret(False)
    with pytest.raises(BackendError, match="on the CPU it needs TRITON_INTERPRET=1") as caught:
        backends.choose(CPU)
    assert "reference" in caught.value.hint


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("asked", "device", "reason"),
    [
        ("triton", ELSEWHERE, "triton runs on CUDA devices, not on meta"),
        ("triton", GPU, "cannot run: no compiler"),
        ("numba", GPU, "numba runs on the CPU, not on cuda"),
    ],
)
def test_asking_for_what_cannot_run_on_a_device_is_refused(ask, triton_says, asked, device, reason):
    ask(asked)
    triton_says("no compiler")
    with pytest.raises(BackendError, match=reason):
        backends.choose(device)


@pytest.mark.refuses
@pytest.mark.parametrize("asked", ["cuda", "", "Numba"])
def test_an_unknown_backend_is_refused_with_the_known_ones(ask, asked):
    ask(asked)
    with pytest.raises(
        BackendError, match=f"is {asked}; expected auto, reference, numba or triton"
    ):
        backends.choose(CPU)


def test_kernels_take_tensors_whatever_they_are_written_in(monkeypatch):
    taken = []
    family = types.SimpleNamespace(kernel=lambda *arguments: taken.extend(arguments))
    monkeypatch.setitem(sys.modules, "sspnerf.ops.numba_kernels.family", family)
    given = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([1.0]).bfloat16()
    backends.Kernels("numba", "family").kernel(*given, torch.tensor(0.5), 0.1, 7, True)
    assert [type(each) for each in taken[2:]] == [np.float32, np.float32, int, bool]
    assert taken[0].tolist() == [1.0, 2.0]
    # The upper half of float32's bits.
    assert taken[1].tolist() == [0x3F80]
    taken[0][0] = 5
    assert given[0][0] == 5


def test_fields_compute_in_a_number_type_that_multiplies_here():
    number_type = backends.field_dtype(CPU)
    assert number_type in (torch.bfloat16, torch.float32)
    two = torch.full((2, 2), 1.0, dtype=number_type)
    assert torch.equal(two @ two, torch.full((2, 2), 2.0, dtype=number_type))


def test_fields_on_an_unknown_device_compute_in_float32():
    assert backends.field_dtype(ELSEWHERE) == torch.float32
