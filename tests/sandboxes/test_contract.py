"""Every provider keeps the seam's contract."""

from harness.sandboxes import open_provider
from harness.testing.sandboxes import SandboxContract


class TestBwrap(SandboxContract):
    def provider(self):
        return open_provider("bwrap")


class TestLocal(SandboxContract):
    isolated = False

    def provider(self):
        return open_provider("local", unsafe=True)
