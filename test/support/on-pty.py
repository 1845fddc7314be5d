"""Runs a command on a pseudo-terminal, types into it, and prints what came of it as JSON.

Standard input is {"argv": [...], "columns": n, "rows": n, "steps": [[EXPECT, ACTION], ...]}. EXPECT is a regular expression that must
match what was written since the last one did; ACTION is text to type, {"size": [columns, rows]}, {"kill": SIGNAL}, {"kill-worker": true}
(the child of the command) or {"hang-up": true}, which closes the terminal.
"""
import fcntl, json, os, pty, re, select, signal, struct, sys, termios, time

LIMIT_S = 30
given = json.load(sys.stdin)
pid, fd = pty.fork()


def set_size(columns, rows, on):
    fcntl.ioctl(on, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


if pid == 0:
    set_size(given["columns"], given["rows"], 0)
    os.execvp(given["argv"][0], given["argv"])

text, at, closed = b"", 0, False
deadline = time.monotonic() + LIMIT_S


def read():
    global text
    if not select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
        finish("nothing came")
    try:
        chunk = os.read(fd, 65536)
    except OSError:
        return False
    text += chunk
    return chunk != b""


def children(of):
    with open(f"/proc/{of}/task/{of}/children") as file:
        return [int(word) for word in file.read().split()]


def act(action):
    global fd, closed
    if isinstance(action, str):
        os.write(fd, action.encode())
    elif "size" in action:
        set_size(*action["size"], fd)
    elif "kill" in action:
        os.kill(pid, getattr(signal, action["kill"]))
    elif "kill-worker" in action:
        for child in children(pid):
            os.kill(child, signal.SIGKILL)
    elif "hang-up" in action:
        os.close(fd)
        closed = True


def finish(problem=None):
    if problem is not None:
        os.kill(pid, signal.SIGKILL)
    modes = None
    if not closed:
        flags = termios.tcgetattr(fd)
        modes = {
            "echo": bool(flags[3] & termios.ECHO),
            "lines": bool(flags[3] & termios.ICANON),
            "signals": bool(flags[3] & termios.ISIG),
            "output": bool(flags[1] & termios.OPOST),
        }
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    json.dump({"text": text.decode(errors="replace"), "status": status, "modes": modes, "problem": problem}, sys.stdout)
    sys.exit(0)


for expected, action in given["steps"]:
    while True:
        found = re.search(expected.encode(), text[at:], re.S)
        if found is not None:
            at += found.end()
            break
        if not read():
            finish(f"it ended before {expected!r}")
    act(action)
while not closed and read():
    pass
finish()
