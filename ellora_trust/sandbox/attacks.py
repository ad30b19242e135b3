"""The escape corpus, part one: programs that try to see, change or exhaust what lies outside the sandbox.

Each is a Python program; `escape.py` gives it a table `T` of targets (paths, ports, process ids) and judges it by
what it prints ("ESCAPED ...") and by what became of the targets. Without isolation most of them succeed, which is
tested too: an attack that cannot succeed anywhere would prove nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attack:
    """One attempt.

    Attributes:
        name: Short, unique.
        goal: What it would have got, in a few words.
        program: Python source; `T` is there, as are `attempt(function)` and `escaped(what)`.
        harmless: Whether it may be run without isolation, to see that it would work.
        endless: Whether it lasts until it is ended; all of these are run side by side.
    """

    name: str
    goal: str
    program: str
    harmless: bool = False
    endless: bool = False


# Before every attack. An attempt that is refused in whatever way is not an escape.
PRELUDE = """
import ctypes, errno, json, os, signal, socket, struct, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def escaped(what):
    print("ESCAPED", what, flush=True)
def attempt(function, *arguments):
    try:
        return function(*arguments)
    except Exception:
        return None
def read(path):
    with open(path, "rb") as file:
        return file.read(1 << 20)
def write(path):
    with open(path, "ab") as file:
        file.write(b"x")
"""

READING = (
    Attack("passwd", "read /etc/passwd", "if attempt(read, '/etc/passwd'): escaped('read')", harmless=True),
    Attack("shadow", "read /etc/shadow", "if attempt(read, '/etc/shadow'): escaped('read')"),
    Attack(
        "home",
        "list the home folders",
        "for path in ('/home', T['home']):\n"
        "    for name in attempt(os.listdir, path) or []:\n"
        "        if name not in T['shown']: escaped(name)",
        harmless=True,
    ),
    Attack("canary", "read a file of the user's", "if attempt(read, T['canary']): escaped('read')", harmless=True),
    Attack(
        "environment",
        "read another process's environment",
        "for pid in ('self', T['pid'], T['bystander_pid'], os.getppid(), 1):\n"
        "    print(attempt(read, f'/proc/{pid}/environ'))",
        harmless=True,
    ),
    Attack(
        "memory-proc",
        "read the parent's memory through /proc",
        "for pid in (T['pid'], os.getppid(), 1):\n"
        "    file = attempt(os.open, f'/proc/{pid}/mem', os.O_RDONLY)\n"
        "    print(attempt(os.pread, file, 64, T['address']) if file else '')",
        harmless=True,
    ),
    Attack(
        "memory-vm",
        "read the parent's memory by process_vm_readv",
        "class V(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]\n"
        "buffer = ctypes.create_string_buffer(64)\n"
        "local, remote = V(ctypes.addressof(buffer), 64), V(T['address'], 64)\n"
        "for pid in (T['pid'], os.getppid(), 1):\n"
        "    if libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0) > 0: print(buffer.raw)",
        harmless=True,
    ),
    Attack(
        "ptrace",
        "trace another process",
        "if libc.ptrace(16, os.getppid(), 0, 0) == 0 or libc.ptrace(0, 0, 0, 0) == 0: escaped('ptrace')",
    ),
    Attack(
        "proc-root",
        "walk out through /proc/PID/root and cwd",
        "for pid in [name for name in os.listdir('/proc') if name.isdigit()]:\n"
        "    for link in ('root', 'cwd'):\n"
        "        if attempt(read, f'/proc/{pid}/{link}{T[\"canary\"]}'): escaped(pid)",
        harmless=True,
    ),
    Attack(
        "descriptors",
        "use an inherited descriptor of a folder",
        "for number in range(3, 256):\n"
        "    for way in (T['canary'].lstrip('/'), '../' * 20 + T['canary'].lstrip('/')):\n"
        "        if attempt(lambda: os.open(way, os.O_RDONLY, dir_fd=number)): escaped(number)",
    ),
    Attack(
        "symlink",
        "read through a symbolic link",
        "attempt(os.symlink, T['canary'], '/tmp/link' if os.access('/tmp', os.W_OK) else 'link')\n"
        "if attempt(read, '/tmp/link'): escaped('link')",
    ),
    Attack(
        "processes",
        "see what other processes were started with",
        "for pid in os.listdir('/proc'):\n"
        "    if pid.isdigit() and T['bystander'] in (attempt(read, f'/proc/{pid}/cmdline') or b'').decode(): "
        "escaped(pid)",
        harmless=True,
    ),
)

WRITING = (
    Attack("write-canary", "change a file of the user's", "attempt(write, T['canary'])", harmless=True),
    Attack("write-folder", "make a file beside it", "attempt(write, T['folder'] + '/planted')", harmless=True),
    Attack(
        "write-system",
        "write into the toolchain, the work folder or the root",
        "for folder in ('/usr/bin', '/usr/lib', '/etc', '/', '/work', '/dev', '/proc/sys/kernel'):\n"
        "    name = f'{folder}/{T[\"mark\"]}'\n"
        "    attempt(write, name)\n"
        "    if os.path.exists(name): escaped(folder)",
    ),
    Attack(
        "core-pattern",
        "change the kernel's settings",
        "for name in ('kernel/core_pattern', 'kernel/hostname', 'vm/overcommit_memory'):\n"
        "    if attempt(lambda: os.open(f'/proc/sys/{name}', os.O_WRONLY)): escaped(name)\n"
        "if attempt(lambda: os.open('/proc/sysrq-trigger', os.O_WRONLY)): escaped('sysrq')",
    ),
    Attack(
        "remount",
        "make the root writable again",
        "for flags in (32, 32 | 4096, 4096):\n"
        "    if libc.mount(b'none', b'/', None, flags, None) == 0: escaped(flags)\n"
        "if libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None) == 0: escaped('tmpfs')",
    ),
    Attack(
        "chroot",
        "leave by chroot and '..'",
        "attempt(os.mkdir, '/tmp/cell')\nif libc.chroot(b'/tmp/cell') == 0:\n    escaped('chroot')",
    ),
)

POWERS = (
    Attack(
        "setuid",
        "become root",
        "attempt(os.setuid, 0); attempt(os.setgid, 0); attempt(os.setresuid, 0, 0, 0)\n"
        "if os.geteuid() == 0: escaped('root')",
    ),
    Attack(
        "setuid-program",
        "become root by a setuid program",
        "for program in ('su', 'mount', 'passwd', 'newgrp', 'fusermount'):\n"
        "    attempt(lambda: subprocess.run([program, '--version'], capture_output=True, timeout=2))\n"
        "status = read('/proc/self/status').decode()\n"
        "if 'NoNewPrivs:\\t1' not in status: escaped('setuid programs gain their owner')",
        harmless=True,
    ),
    Attack(
        "capabilities",
        "hold a capability",
        "status = dict(line.split(':', 1) for line in read('/proc/self/status').decode().splitlines())\n"
        "for kind in ('CapEff', 'CapPrm', 'CapBnd', 'CapAmb'):\n"
        "    if kind != 'CapBnd' and int(status[kind], 16): escaped(kind)",
    ),
    Attack(
        "user-namespace",
        "become root of a namespace of its own",
        "if libc.unshare(0x10000000) == 0: escaped('unshare')\n"
        "if libc.syscall(56 if os.uname().machine == 'x86_64' else 220, 0x10000000 | 17, 0, 0, 0, 0) > 0: "
        "escaped('clone')",
        harmless=True,
    ),
    Attack(
        "setns",
        "enter another namespace",
        "for kind in ('mnt', 'net', 'pid', 'user'):\n"
        "    number = attempt(os.open, '/proc/1/ns/' + kind, os.O_RDONLY)\n"
        "    if number and libc.setns(number, 0) == 0: escaped(kind)",
    ),
    Attack(
        "kernel-interfaces",
        "reach kernel interfaces known for holes",
        "numbers = {'bpf': 321, 'userfaultfd': 323, 'io_uring_setup': 425, 'perf_event_open': 298, 'keyctl': 250}\n"
        "page = ctypes.create_string_buffer(256)\n"
        "for name, number in numbers.items() if os.uname().machine == 'x86_64' else ():\n"
        "    ctypes.set_errno(0)\n"
        "    libc.syscall(number, 0, ctypes.addressof(page), 0, 0, 0)\n"
        "    if ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS): escaped(name)",
        harmless=True,
    ),
    Attack(
        "terminal",
        "type into the user's terminal",
        "import fcntl\n"
        "number = attempt(os.open, '/dev/tty', os.O_RDWR)\n"
        "if number and attempt(fcntl.ioctl, number, 0x5412, b'x') is not None: escaped('TIOCSTI')",
    ),
)

NETWORK = (
    Attack(
        "loopback",
        "reach a service on this machine",
        "attempt(lambda: socket.create_connection(('127.0.0.1', T['port']), 2).sendall(b'x'))",
        harmless=True,
    ),
    Attack(
        "abstract-socket",
        "reach an abstract unix socket",
        "line = socket.socket(socket.AF_UNIX)\nattempt(line.connect, '\\0' + T['abstract'])",
        harmless=True,
    ),
    Attack(
        "unix-socket",
        "reach a unix socket by its path",
        "line = socket.socket(socket.AF_UNIX)\nattempt(line.connect, T['socket'])",
        harmless=True,
    ),
    Attack(
        "internet",
        "have a network interface beside loopback",
        "names = [name for _, name in attempt(socket.if_nameindex) or []]\n"
        "if set(names) - {'lo'}: escaped(names)\n"
        "line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "if attempt(line.connect, ('8.8.8.8', 53)) is None and attempt(line.getpeername): escaped('route')",
    ),
)

EXHAUSTION = (
    Attack(
        "fork-bomb",
        "start processes without end",
        "started = 0\n"
        "for _ in range(2000):\n"
        "    try:\n"
        "        if os.fork() == 0: time.sleep(60); os._exit(0)\n"
        "        started += 1\n"
        "    except OSError: break\n"
        "if started > T['processes']: escaped(started)",
    ),
    Attack(
        "thread-bomb",
        "start threads without end",
        "started = 0\n"
        "for _ in range(2000):\n"
        "    try: threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); started += 1\n"
        "    except RuntimeError: break\n"
        "if started > T['processes']: escaped(started)\n"
        "os._exit(0)",
    ),
    Attack(
        "memory-bomb",
        "take all memory",
        "kept = []\nwhile True:\n    kept.append(bytearray(os.urandom(1 << 16)) * 64)\n"
        "    if len(kept) * 4 > 2 * T['memory_mib']: escaped('memory'); break",
    ),
    Attack(
        "hidden-memory",
        "take memory that no process shows",
        "if hasattr(os, 'memfd_create') and attempt(os.memfd_create, 'x'): escaped('memfd')\n"
        "if libc.shmget(0, 1 << 20, 0o1600) >= 0: escaped('shm')\n"
        "line, size = socket.socketpair()[0], (socket.SOL_SOCKET, socket.SO_SNDBUF)\n"
        "before = line.getsockopt(*size)\n"
        "attempt(line.setsockopt, *size, before // 4)\n"
        "if line.getsockopt(*size) != before: escaped('socket buffers')\n"
        "import mmap\n"
        "for flags in (mmap.MAP_SHARED, mmap.MAP_SHARED | 2):\n"
        "    if attempt(mmap.mmap, -1, 1 << 20, flags | mmap.MAP_ANONYMOUS): escaped('shared mapping')\n"
        "zeros = attempt(os.open, '/dev/zero', os.O_RDWR)\n"
        "if zeros and attempt(mmap.mmap, zeros, 1 << 20, mmap.MAP_SHARED): escaped('mapping of /dev/zero')",
        harmless=True,
    ),
    Attack(
        "disk-bomb",
        "fill a disk or the memory behind one",
        "total = 0\n"
        "for folder in ('/tmp', '/dev/shm', '/dev', '/work', '/var/tmp', '/run'):\n"
        "    for index in range(40):\n"
        "        try:\n"
        "            with open(f'{folder}/{T[\"mark\"]}{index}', 'wb') as file:\n"
        "                for _ in range(60): total += file.write(bytes(1 << 20))\n"
        "        except (OSError, ValueError): break\n"
        "if total > 3 * T['scratch']: escaped(total)",
    ),
    Attack(
        "file-bomb",
        "fill the kernel's memory with empty files",
        "made = 0\n"
        "for folder in ('/tmp', '/dev/shm'):\n"
        "    for index in range(200_000):\n"
        "        try: os.close(os.open(f'{folder}/{index}', os.O_CREAT)); made += 1\n"
        "        except OSError: break\n"
        "if made > 2 * T['files']: escaped(made)",
    ),
    Attack("output-bomb", "write output without end", "while True: os.write(1, bytes(1 << 16))"),
    Attack("sleep", "never end", "time.sleep(600)", endless=True),
    Attack("spin", "never end and burn a processor", "while True: pass", endless=True),
    Attack(
        "deaf",
        "never end and ignore signals",
        "for number in range(1, 65): attempt(signal.signal, number, signal.SIG_IGN)\nwhile True: time.sleep(1)",
        endless=True,
    ),
    Attack(
        "daemon",
        "outlive the run",
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        for number in range(3): attempt(os.close, number)\n"
        "        time.sleep(60)\n"
        "    os._exit(0)",
        harmless=True,
    ),
    Attack(
        "kill",
        "kill the parent and everything else",
        "for pid in (T['pid'], T['bystander_pid'], os.getppid(), -1):\n    attempt(os.kill, pid, signal.SIGKILL)",
    ),
)

ATTACKS = (*READING, *WRITING, *POWERS, *NETWORK, *EXHAUSTION)
