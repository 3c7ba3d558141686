import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Two threads on a machine that does something else too are many times slower than one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
