"""For all tests: no network but this machine's own loopback, fixed seeds, reproducible hypothesis."""

import ipaddress
import os
import random
import socket
import sys

import hypothesis
import numpy as np
import pytest

hypothesis.settings.register_profile(
    "visiontasks", derandomize=True, deadline=None, database=None, print_blob=False
)
hypothesis.settings.load_profile("visiontasks")


class NetworkBlocked(RuntimeError):
    """A test tried to leave the machine. No OSError: nothing that copes with being offline may hide it."""


def _is_local(host):
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check(host):
    name = host.decode() if isinstance(host, bytes) else host
    if not _is_local(name):
        raise NetworkBlocked(f"tests use no network, but one asked for {name!r}")


@pytest.fixture(autouse=True, scope="session")
def blocked_network():
    """Python's sockets reach loopback only; programs that tests start get a proxy that is not there."""
    patch = pytest.MonkeyPatch()
    resolve, plain = socket.getaddrinfo, socket.socket

    class GuardedSocket(plain):
        def connect(self, address):
            self._guard(address)
            return super().connect(address)

        def connect_ex(self, address):
            self._guard(address)
            return super().connect_ex(address)

        def sendto(self, data, *rest):
            self._guard(rest[-1])
            return super().sendto(data, *rest)

        def _guard(self, address):
            if self.family in (socket.AF_INET, socket.AF_INET6):
                _check(address[0])

    def guarded_getaddrinfo(host, *arguments, **options):
        _check(host)
        return resolve(host, *arguments, **options)

    patch.setattr(socket, "socket", GuardedSocket)
    patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
    for scheme in ("http", "https", "all"):
        patch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    patch.setenv("no_proxy", "127.0.0.1,localhost,::1")
    patch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def fixed_seeds():
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):  # tests without torch stay quick
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """The user's cache of downloads is neither read nor written."""
    monkeypatch.setenv("VISIONTASKS_CACHE", os.fspath(tmp_path_factory.getbasetemp() / "cache"))
