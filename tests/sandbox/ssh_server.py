"""An OpenSSH server for tests: one key may fetch from Git, and nothing else."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

READY_SECONDS = 30.0


def key_pair() -> tuple[str, str]:
    """A private and a public key, as OpenSSH writes them."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private.decode(), public.decode()


class SshServer:
    """``sshd`` on 127.0.0.1, for the user that runs the tests.

    :param directory: an empty one of its own.
    """

    def __init__(self, directory: Path) -> None:
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            pytest.skip("sshd is not installed: apt-get install openssh-server")
        self.private_key, public = key_pair()
        host_key, self.host_public = key_pair()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = directory / "sshd.log"
        (directory / "host_key").write_text(host_key)
        (directory / "host_key").chmod(0o600)
        fetch = 'restrict,command="git-shell -c \\"$SSH_ORIGINAL_COMMAND\\""'
        (directory / "authorized_keys").write_text(f"{fetch} {public}\n")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd wants it for its separated privileges
        settings = (
            f"ListenAddress=127.0.0.1:{self.port}",
            f"HostKey={directory / 'host_key'}",
            f"AuthorizedKeysFile={directory / 'authorized_keys'}",
            *(
                "PidFile=none",
                "StrictModes=no",
                "UsePAM=no",
                "PermitRootLogin=yes",
                "PasswordAuthentication=no",
            ),
        )
        options = [part for setting in settings for part in ("-o", setting)]
        self._process = subprocess.Popen([program, "-D", "-f", "/dev/null", "-E", str(self.log), *options])
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while "listening" not in (self.log.read_text() if self.log.exists() else ""):
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    @property
    def known_hosts(self) -> str:
        """What ``ssh-keyscan`` would say."""
        return f"[127.0.0.1]:{self.port} {self.host_public}\n"

    def url(self, repository: Path) -> str:
        """A repository's address."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{repository}"

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
