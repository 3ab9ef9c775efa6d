"""The guards themselves: a guard that does not bite is worse than none."""

import os
import socket

import pytest
import torch
from jaxtyping import TypeCheckError

from polylens.nn.similarity import maxsim


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_outside_is_refused(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as stream, pytest.raises(pytest.fail.Exception, match="tests use no network"):
        stream.connect((host, 80))
    with socket.socket(family) as stream, pytest.raises(pytest.fail.Exception):
        stream.connect_ex((host, 80))


def test_a_name_outside_is_not_even_looked_up() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"example\.org"):
        socket.create_connection(("example.org", 80))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_may_be_reached(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection((host, server.getsockname()[1])).close()


def test_shapes_are_checked_while_tests_run() -> None:
    mask = torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(TypeCheckError):
        maxsim(torch.ones(1, 2, 8), torch.ones(1, 2, 9), mask, mask)


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="alone on the machine, torch may use all of it")
def test_tests_that_run_side_by_side_use_one_thread_each() -> None:
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])
