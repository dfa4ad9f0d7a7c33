"""Every provider passes the contract that ships in harness/testing/sandboxes.py."""

from harness.sandboxes import open_provider
from harness.testing.sandboxes import SandboxContract
from tests.engines import IMAGE, needs_docker


class TestBwrap(SandboxContract):
    def provider(self):
        return open_provider("bwrap")


@needs_docker
class TestDocker(SandboxContract):
    def provider(self):
        return open_provider("docker", image=IMAGE)


class TestLocal(SandboxContract):
    isolated = False

    def provider(self):
        return open_provider("local", unsafe=True)
