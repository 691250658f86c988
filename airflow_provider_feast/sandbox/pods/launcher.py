"""Runs inside a new process: makes a container's namespaces and mounts, then becomes its command.

Started as `python -I -S launcher.py FD`; a description of the container is read from the pipe FD, and
what goes wrong before the command runs is written to the pipe named in it. Standard library only, and of
that little: every import is paid by every container (so `os.path`, not `pathlib`).
"""
# ruff: noqa: PTH101, PTH103, PTH110, PTH112, PTH113, PTH114, PTH115, PTH118, PTH120, PTH123, PTH208, PTH211

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

TYPE_CHECKING = False  # type checkers take it for typing.TYPE_CHECKING, which costs an import
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Spec = dict[str, Any]

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x4000000, 0x10000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 32, 4096, 16384, 1 << 18
SYS_MOUNT_SETATTR = 442
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = -100, 0x8000, 1
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "sys")

libc = ctypes.CDLL(None, use_errno=True)


class SetupError(Exception):
    """The container cannot be made."""


def check(result: int, what: str) -> None:
    """Raise when a call of the C library failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise SetupError(f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    arguments = [item.encode() if item else None for item in (source, target, kind)]
    check(libc.mount(*arguments, ctypes.c_ulong(flags), options.encode()), f"mount {source} at {target}")


def read_only(path: str) -> None:
    """Make a mount, and those below it, read-only."""
    attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY, 0, 0, 0)
    size = ctypes.sizeof(attributes)
    result = libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), AT_RECURSIVE, attributes, size)
    check(result, f"make {path} read-only")


def write_file(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def enter_namespaces(spec: Spec) -> None:
    """New user, mount, host name and process namespaces; the user inside is the container's."""
    outer_user, outer_group = os.geteuid(), os.getegid()
    flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWPID
    check(libc.unshare(flags), "unshare")
    write_file("/proc/self/setgroups", "deny")
    write_file("/proc/self/uid_map", f"{spec['user']} {outer_user} 1")
    write_file("/proc/self/gid_map", f"{spec['group']} {outer_group} 1")
    mount("", "/", "", MS_REC | MS_PRIVATE)
    hostname = spec["hostname"].encode()
    check(libc.sethostname(hostname, len(hostname)), "sethostname")


def inside(root: str, path: str) -> str:
    return root + "/" + path.strip("/")


def expose(root: str, path: str) -> None:
    """Show a directory or file of this machine at the same path, read-only."""
    if not os.path.lexists(path):
        return
    target = inside(root, path)
    if os.path.islink(path):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.lexists(target):
            os.symlink(os.readlink(path), target)
        return
    bind(path, target)
    read_only(target)


def bind(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.lexists(target):
            write_file(target, "")
    mount(source, target, "", MS_BIND | MS_REC)


def make_root(root: str, spec: Spec) -> None:
    """A root of its own: system directories and the image's runtime read-only, /dev, /proc, an own /tmp."""
    mount("tmpfs", root, "tmpfs", MS_NOSUID, "mode=755")
    shadowed = {target.strip("/").split("/")[0] for _, target, _ in spec["binds"]}
    for name in SYSTEM:
        if name in shadowed and os.path.isdir("/" + name) and not os.path.islink("/" + name):
            shadow(root, "/" + name, spec)
        else:
            expose(root, "/" + name)
    for path in spec["visible"]:
        if not os.path.lexists(inside(root, path)):
            expose(root, path)
    for name in ("tmp", "run", "var", "home", "root", "opt", "mnt", "srv"):
        os.makedirs(inside(root, name), exist_ok=True)
    os.chmod(inside(root, "tmp"), 0o1777)  # noqa: S103 - as in every container
    if not os.path.lexists(inside(root, "var/run")):
        os.symlink("/run", inside(root, "var/run"))
    make_devices(root)


def shadow(root: str, path: str, spec: Spec) -> None:
    """A directory that gets a mount point inside: its entries are shown one by one."""
    os.makedirs(inside(root, path), exist_ok=True)
    targets = [target.rstrip("/") for _, target, _ in spec["binds"]]
    for name in os.listdir(path):
        entry = path + "/" + name
        below = any(target.startswith(entry + "/") for target in targets)
        if entry in targets:
            continue
        if below and os.path.isdir(entry) and not os.path.islink(entry):
            shadow(root, entry, spec)
        else:
            expose(root, entry)


def make_devices(root: str) -> None:
    os.makedirs(inside(root, "dev/shm"), exist_ok=True)
    for name in DEVICES:
        if os.path.exists("/dev/" + name):
            bind("/dev/" + name, inside(root, "dev/" + name))
    mount("tmpfs", inside(root, "dev/shm"), "tmpfs", MS_NOSUID, "mode=1777")
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(target, inside(root, "dev/" + name))


def make_proc(root: str) -> None:
    """A /proc of the new process namespace; where the kernel refuses, the machine's own."""
    target = inside(root, "proc")
    os.makedirs(target, exist_ok=True)
    try:
        mount("proc", target, "proc", MS_NOSUID)
    except SetupError:
        mount("/proc", target, "", MS_BIND | MS_REC)


def resolve(root: str, path: str) -> str:
    """Where a mount path really is when a directory on its way is a link (/var/run)."""
    parts, at = [part for part in path.split("/") if part], ""
    for number, part in enumerate(parts):
        full = root + at + "/" + part
        if os.path.islink(full):
            link = os.path.join(at or "/", os.readlink(full))
            return resolve(root, os.path.normpath("/".join([link, *parts[number + 1 :]])))
        at = at + "/" + part
    return at


def mount_volumes(root: str, spec: Spec) -> None:
    binds = sorted(spec["binds"], key=lambda item: item[1].count("/"))
    for source, target, _ in binds:
        bind(source, inside(root, resolve(root, target)))
    if spec["read_only_root"]:
        read_only(root)
    for _, target, fixed in binds:
        place = inside(root, resolve(root, target))
        if fixed:
            read_only(place)
        elif spec["read_only_root"]:
            writable(place)
    if spec["read_only_root"]:
        writable(inside(root, "dev/shm"))


def writable(path: str) -> None:
    attributes = (ctypes.c_uint64 * 4)(0, MOUNT_ATTR_RDONLY, 0, 0)
    size = ctypes.sizeof(attributes)
    result = libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), AT_RECURSIVE, attributes, size)
    check(result, f"make {path} writable")


def become(spec: Spec) -> str:
    """Execute the command; returns why that is impossible."""
    working = spec["cwd"]
    try:  # noqa: SIM105 - contextlib costs an import
        os.makedirs(working, exist_ok=True)
    except OSError:
        pass  # it exists, or the chdir below says why not
    try:
        os.chdir(working)
    except OSError as error:
        return f'chdir to cwd ("{working}") set in config.json failed: {(error.strerror or "error").lower()}'
    program = spec["argv"][0]
    candidates = (
        [program]
        if "/" in program
        else [directory + "/" + program for directory in spec["env"].get("PATH", "").split(":") if directory]
    )
    found = next((path for path in candidates if os.access(path, os.X_OK) and os.path.isfile(path)), None)
    if found is None:
        if "/" not in program:
            return f'exec: "{program}": executable file not found in $PATH'
        if os.path.exists(program):
            return f'exec: "{program}": permission denied'
        return f'exec: "{program}": stat {program}: no such file or directory'
    try:
        os.execve(found, spec["argv"], spec["env"])  # noqa: S606
    except OSError as error:
        return f'exec: "{program}": {(error.strerror or "error").lower()}'


def child(root: str, spec: Spec, errors: int) -> NoReturn:
    """The first process of the new process namespace."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        make_root(root, spec)
        make_proc(root)
        mount_volumes(root, spec)
        os.chroot(root)
        os.chdir("/")
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        for number in (signal.SIGPIPE, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        problem = become(spec)
    except (SetupError, OSError) as error:
        problem = f"the sandbox's launcher: {error}"
    os.write(errors, problem.encode())
    os._exit(128)


def main() -> None:
    """Entry point of the launcher."""
    with os.fdopen(int(sys.argv[1])) as pipe:
        spec = json.load(pipe)
    errors = spec["errors"]
    os.set_inheritable(errors, False)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        enter_namespaces(spec)
    except (SetupError, OSError) as error:
        os.write(errors, f"the sandbox's launcher: {error}".encode())
        os._exit(128)
    pid = os.fork()
    if pid == 0:
        child(spec["root"], spec, errors)
    os.close(errors)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: os.kill(pid, received))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os._exit(128 - code if code < 0 else code)


if __name__ == "__main__":
    main()
