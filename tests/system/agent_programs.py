"""Programs for agents that behave badly; each notes its pids in the file at PIDS and ends by itself within a minute."""

PRELUDE = """
import os, signal, sys, time
def note():
    fd = os.open(os.environ["PIDS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, b"%d\\n" % os.getpid())
    os.close(fd)
def stay():
    note()
    for _ in range(600):
        time.sleep(0.1)
    os._exit(0)
def child(work, leave=False):
    if os.fork() == 0:
        if leave:
            os.setsid()
        work()
        os._exit(0)
"""

HOSTILE = {
    "ignores SIGTERM": """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
stay()
""",
    "leaves the group by setsid and a double fork": """
child(lambda: child(stay, leave=True), leave=True)
stay()
""",
    "ends and leaves orphans everywhere": """
child(stay)
child(stay, leave=True)
child(lambda: child(stay, leave=True), leave=True)
note()
time.sleep(0.3)
os._exit(7)
""",
    "forks on SIGTERM": """
def more(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(20):
        child(stay, leave=True)
        child(stay)
signal.signal(signal.SIGTERM, more)
stay()
""",
    "is stopped": """
note()
child(stay)
os.kill(os.getpid(), signal.SIGSTOP)
stay()
""",
    "closes its pipes": """
os.closerange(0, 3)
child(stay, leave=True)
stay()
""",
    "fills its log": """
for _ in range(600):
    os.write(1, b"x" * 99_999 + b"\\n")
stay()
""",
    "runs away from generation to generation": """
note()
end = time.monotonic() + 30
os.setpgid(0, 0) if os.getpgrp() != os.getpid() else None
while time.monotonic() < end:
    if os.fork():
        if os.getsid(0) == os.getpid():
            os._exit(0)
        stay()
    os.setsid()
    time.sleep(0.002)
""",
    "forks faster than anyone can look": """
def race():
    note()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if os.fork():
            os._exit(0)
child(race, leave=True)
while not os.path.exists(os.environ["PIDS"]):
    time.sleep(0.01)
stay()
""",
    "grows a tree": """
def grow(depth):
    if depth:
        for number in range(3):
            child(lambda: grow(depth - 1), leave=number == 1)
    stay()
grow(4)
""",
    "adopts its own orphans": """
import ctypes
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child(lambda: child(stay, leave=True), leave=True)
stay()
""",
    "moves into its supervisor's group": """
os.setpgid(0, os.getsid(0))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child(stay)
stay()
""",
    "forks a storm under a cap": """
reader, writer = os.pipe()
os.set_blocking(reader, False)
os.write(writer, b"." * 60)
def storm():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end, idle = time.monotonic() + 20, 0
    while time.monotonic() < end:
        try:
            os.read(reader, 1)
        except BlockingIOError:
            idle += 1
            if idle > 5:
                os.write(writer, b".")  # makes room for another, and so on
                os._exit(0)
            time.sleep(0.001)
            continue
        if os.fork() == 0:
            os.setsid()
            idle = 0
child(storm, leave=True)
time.sleep(0.1)
stay()
""",
    "starts a session": """
child(stay, leave=True)
stay()
""",
}
