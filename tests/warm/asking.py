"""A program whose work a copy of the warm process does: see tests/warm. Nothing is imported that takes time."""

# pathlib takes longer to import than the rest does.
# ruff: noqa: PTH109

import array
import os
import signal
import socket
import sys


def main() -> None:
    here, name = os.path.split(sys.argv[0])
    environment = dict(os.environ)
    say = environment.pop("WARM_PID", "")
    files = [0, 1, 2, *map(int, environment.pop("WARM_FILES", "").split())]
    arguments = sys.argv[1:]
    if name == "python" and (not arguments or arguments[0].startswith("-")):
        os.execv(sys.executable, [sys.executable, *arguments])
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(f"{here}/socket")
    request = repr((name, arguments, os.getcwd(), environment, files)).encode()
    connection.sendmsg(
        [len(request).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))]
    )
    connection.sendall(request)
    pid = int.from_bytes(connection.recv(8), "big")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda got, _: os.kill(pid, got))
    if say:
        os.write(int(say), b"%d\n" % pid)
        os.close(int(say))
    status = connection.recv(8)
    code = int.from_bytes(status, "big", signed=True) if status else 1
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


main()
