"""The Docker engine, local or remote: the only module that imports the docker package.

Its low-level client costs what the bare API costs (create, start, remove: 9, 205, 70 ms against 10, 200, 63 in one run);
it is synchronous, so every call runs in a thread. Streams of sandboxes go through attach.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import ssl
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, MachineError, SandboxFault
from harness.sandboxes.docker.attach import Address, MuxReader, attach
from harness.sandboxes.docker.tunnel import Tunnel

Progress = Callable[[str], None]
DEFAULT_SOCKET = "/var/run/docker.sock"
CALL_LIMIT = 120
"""Seconds for one call to the engine."""
THREADS = 8


class Refused(SandboxFault):
    """The engine answered with an error; `status` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def engine_url() -> str:
    """Where the docker command would go: DOCKER_HOST, else the current context, else the default socket."""
    if os.environ.get("DOCKER_HOST"):
        return os.environ["DOCKER_HOST"]
    config = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    if (config / "contexts").is_dir() or os.environ.get("DOCKER_CONTEXT"):
        with contextlib.suppress(Exception):
            contexts = importlib.import_module("docker.context").ContextAPI
            context = contexts.get_context(os.environ.get("DOCKER_CONTEXT")) or contexts.get_current_context()
            return str(context.Host or f"unix://{DEFAULT_SOCKET}")
    return f"unix://{DEFAULT_SOCKET}"


class Engine:
    """One engine. Open it before use, close it after."""

    def __init__(self, url: str | None = None) -> None:
        self.url = url or engine_url()
        self.info: dict[str, Any] = {}
        self._client: Any = None
        self._errors: Any = None
        self._address = Address()
        self._tunnel: Tunnel | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="docker")

    async def open(self) -> None:
        """Connect and ask for its information. Raises MachineError that says what to do."""
        try:
            base = self.url
            if base.startswith("ssh://"):
                self._tunnel = await Tunnel.open(base)
                base = f"unix://{self._tunnel.socket}"
            await self._thread(self._connect, base)
            self.info = await self.call("info")
        except SandboxFault as error:
            await self.close()
            raise MachineError(
                f"docker: no engine answers at {self.url}: {error}\n"
                "start it (dockerd, Docker Desktop), or name another with DOCKER_HOST; --set sandbox.kind=bwrap needs none"
            ) from None

    def _connect(self, base: str) -> None:
        docker = importlib.import_module("docker")
        self._errors = importlib.import_module("docker.errors")
        tls = docker.utils.kwargs_from_env().get("tls") if base.startswith("tcp://") else None
        with self._translated("connect"):
            self._client = docker.APIClient(
                base_url=base, version="auto", timeout=CALL_LIMIT, tls=tls or False, max_pool_size=THREADS
            )
        if base.startswith("unix://"):
            self._address = Address(unix=base.removeprefix("unix://"))
        else:
            parts = urllib.parse.urlsplit(base)
            self._address = Address(host=parts.hostname or "", port=parts.port or 2375, tls=_context(tls))

    @property
    def rootless(self) -> bool:
        """Whether container ids are mapped into a small range: rootless engines and user namespace remapping."""
        return any(option in str(self.info.get("SecurityOptions")) for option in ("name=rootless", "name=userns"))

    async def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """One method of the low-level client. Raises Refused for an answer that is an error, SandboxFault for none."""
        return await self._thread(self._do, name, arguments, options)

    def _do(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        with self._translated(name):
            return getattr(self._client, name)(*arguments, **options)

    async def consume(self, name: str, progress: Progress, *arguments: Any, **options: Any) -> dict[str, Any]:
        """A method whose answer is a stream of JSON lines (pull, build): reported as they come; the last `aux`."""
        return dict(await self._thread(self._consume, name, progress, arguments, options))

    def _consume(
        self, name: str, progress: Progress, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> dict[str, Any]:
        last: dict[str, Any] = {}
        with self._translated(name):
            for line in getattr(self._client, name)(*arguments, **options, decode=True):
                if line.get("error"):
                    raise SandboxFault(f"docker {name}: {str(line['error']).strip()}")
                last.update(line.get("aux") or {})
                said = str(line.get("stream") or line.get("status") or "").strip()
                if said and not line.get("progressDetail"):
                    progress(said)
        return last

    async def disk(self, container: str) -> int:
        """Bytes that a container has written to its root."""
        return int(await self._thread(self._disk, container))

    def _disk(self, container: str) -> int:
        with self._translated("inspect"):
            answer = self._client._get(self._client._url("/containers/{0}/json", container), params={"size": "1"})
            return int(self._client._result(answer, True).get("SizeRw") or 0)

    async def archive(self, container: str, path: str) -> bytes:
        """A folder of a container as a tar. Raises Refused (404) when it is not there."""
        return bytes(await self._thread(self._archive, container, path))

    def _archive(self, container: str, path: str) -> bytes:
        with self._translated("archive"):
            stream, _ = self._client.get_archive(container, path)
            return b"".join(stream)

    async def attach(self, container: str) -> tuple[MuxReader, asyncio.StreamWriter]:
        """The streams of a created container."""
        return await attach(self._address, container, self._client.api_version)

    @contextlib.contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except HarnessError:
            raise
        except self._errors.APIError as error:
            raise Refused(f"docker {what}: {error.explanation or error}", error.status_code or 500) from None
        except (self._errors.DockerException, OSError) as error:  # requests' errors are OSErrors
            raise SandboxFault(f"docker {what}: {_innermost(error)}") from None

    async def _thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def close(self) -> None:
        """Let go of the engine. Idempotent."""
        if self._client is not None:
            self._client.close()
        if self._tunnel is not None:
            await self._tunnel.close()
            self._tunnel = None
        self._threads.shutdown(wait=False)


def _context(tls: Any) -> ssl.SSLContext | None:
    """The same certificates for streams as the client uses for calls."""
    if not tls:
        return None
    context = ssl.create_default_context(cafile=tls.ca_cert or None)
    if not tls.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if tls.cert:
        context.load_cert_chain(*tls.cert)
    return context


def _innermost(error: BaseException) -> str:
    """The operating system's words under three layers of wrapping."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
