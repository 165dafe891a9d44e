"""Which implementation is chosen, what is said about it, and what is refused."""

import pytest
import torch

from sspnerf.errors import BackendError
from sspnerf.ops import backend as backends

CPU, ELSEWHERE = torch.device("cpu"), torch.device("meta")


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


@pytest.mark.refuses
@pytest.mark.parametrize("asked", ["triton", "", "Numba"])
def test_an_unknown_backend_is_refused_with_the_known_ones(ask, asked):
    ask(asked)
    with pytest.raises(BackendError, match=f"is {asked}; expected auto, reference or numba"):
        backends.choose(CPU)


def test_fields_compute_in_a_number_type_that_multiplies_here():
    number_type = backends.field_dtype(CPU)
    assert number_type in (torch.bfloat16, torch.float32)
    two = torch.full((2, 2), 1.0, dtype=number_type)
    assert torch.equal(two @ two, torch.full((2, 2), 2.0, dtype=number_type))


def test_fields_on_an_unknown_device_compute_in_float32():
    assert backends.field_dtype(ELSEWHERE) == torch.float32
