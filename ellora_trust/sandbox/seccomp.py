"""The system calls that no sandboxed program needs, refused by the kernel.

The filter is written by libseccomp, which knows every architecture's numbers. Its Python bindings are not used: the
official ones are not on PyPI, and pyseccomp had its last release in 2021; five functions over ctypes replace them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from functools import cache

from ellora_trust.errors import EnvironmentProblem

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_EQ, _MASKED_EQ = 4, 7
_CLONE_NEWUSER = 0x10000000
_SHARED_ANONYMOUS = 0x01 | 0x20  # MAP_SHARED, which MAP_SHARED_VALIDATE holds too, and MAP_ANONYMOUS

# Ways to look into or steer other processes, to change what is mounted, to reach kernel interfaces with a record of
# holes, and to hold memory that no process's resident set shows (memfd, System V shared memory).
_REFUSED = """
    ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp process_madvise
    mount umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr setns unshare
    name_to_handle_at open_by_handle_at quotactl quotactl_fd swapon swapoff acct
    add_key keyctl request_key bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
    init_module finit_module delete_module kexec_load kexec_file_load reboot syslog vhangup
    settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname iopl ioperm
    memfd_create memfd_secret shmget semget msgget mq_open
""".split()


class _Compare(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise EnvironmentProblem(
            "the sandbox needs libseccomp.so.2 and this machine has none; install it: apt-get install libseccomp2 "
            "(Debian, Ubuntu) or dnf install libseccomp (Fedora, RHEL)"
        ) from error
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Compare),
    )
    library.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    library.seccomp_release.argtypes = (ctypes.c_void_p,)
    return library


@cache
def filter_program() -> bytes:
    """Return the filter as the kernel's BPF program, for the architecture this runs on.

    Raises:
        EnvironmentProblem: libseccomp is missing.
    """
    library = _library()
    context = library.seccomp_init(_ALLOW)
    try:
        for name in _REFUSED:
            _refuse(library, context, name, errno.EPERM)
        # A new user namespace by clone; clone3 hides its flags in memory, so it is "not there" and libc falls back.
        _refuse(library, context, "clone", errno.EPERM, _Compare(0, _MASKED_EQ, _CLONE_NEWUSER, _CLONE_NEWUSER))
        _refuse(library, context, "clone3", errno.ENOSYS)
        # Its pages stay when no process maps them any more, so no sum over processes finds them.
        shared = _Compare(3, _MASKED_EQ, _SHARED_ANONYMOUS, _SHARED_ANONYMOUS)
        _refuse(library, context, "mmap", errno.EPERM, shared)
        # What waits in a socket is the kernel's memory: 4 MiB each way where buffers may grow. "Done", and nothing is.
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            level = _Compare(1, _EQ, socket.SOL_SOCKET, 0)
            _refuse(library, context, "setsockopt", 0, level, _Compare(2, _EQ, option, 0))
        return _exported(library, context)
    finally:
        library.seccomp_release(context)


def _refuse(library: ctypes.CDLL, context: int, name: str, code: int, *comparisons: _Compare) -> None:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number < 0:  # unknown to this architecture or to this libseccomp, so nothing to refuse by this name
        return
    array = (_Compare * max(1, len(comparisons)))(*comparisons)
    failed = library.seccomp_rule_add_array(context, _ERRNO | code, number, len(comparisons), array)
    if failed:
        raise EnvironmentProblem(f"libseccomp refused a rule for {name!r} ({os.strerror(-failed)}); update libseccomp")


def _exported(library: ctypes.CDLL, context: int) -> bytes:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as source:
        with os.fdopen(writer, "wb") as target:  # some hundred instructions of 8 bytes, less than a pipe holds
            library.seccomp_export_bpf(context, target.fileno())
        return source.read()
