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
import fcntl
places = os.open(os.environ["PIDS"] + ".places", os.O_RDWR | os.O_CREAT, 0o600)
def has_place():  # until it dies: a lock, as a kernel counts a user's processes
    for place in range(60):
        try:
            fcntl.lockf(places, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            return True
        except OSError:
            continue
    return False
def storm():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if os.fork() == 0:
            os.setsid()
            if not has_place():
                os._exit(0)
        else:
            time.sleep(0.002)
child(storm, leave=True)
time.sleep(0.2)
stay()
""",
    "starts a session": """
child(stay, leave=True)
stay()
""",
}

LONG_LIVED = """
# Lives for SECONDS by its token alone: waits for events again and again, and keeps its token good in the way of HOW.
import base64, http.client, json, os, random, sys, time
from urllib.parse import urlsplit

api = urlsplit(os.environ["SIDECAR_URL"])
me, how = os.environ["AGENT_ID"], os.environ["HOW"]
chance = random.Random(me)
end = time.monotonic() + float(os.environ["SECONDS"])
refresh_before = float(os.environ["REFRESH_BEFORE"])
counts = {"how": how, "answers": 0, "refused": 0, "renewals": 0, "lost": 0, "unreachable": 0, "late": 0}
with open(os.path.join(os.environ["STARTS"], me), "a") as starts:
    starts.write("%d\\n" % os.getpid())
token = os.environ["JWT_TOKEN"]
connection = None

def ask(method, path, read=True):
    global connection
    if connection is None:
        connection = http.client.HTTPConnection(api.hostname, api.port, timeout=20)
    try:
        connection.request(method, api.path + path, None, {"Authorization": "Bearer " + token})
        if not read:
            counts["lost"] += 1
            if chance.random() < 0.5:
                time.sleep(0.02)
            raise ConnectionResetError
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        connection = None
        raise
    counts["answers"] += 1
    if response.status == 401:
        if b"AUTH_002" in body and how != "file":
            counts["late"] += 1  # answers were lost, or the sidecar was away: the file has a good one
            with open(os.environ["JWT_TOKEN_FILE"]) as file:
                renew(file.read())
        else:
            counts["refused"] += 1
            print(method, path, body, flush=True)
        raise ConnectionResetError
    return response.status, response.headers, body

def renew(new):
    global token
    token = new
    counts["renewals"] += 1

def ends_soon():
    return time.time() > json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["exp"] - refresh_before

while time.monotonic() < end:
    try:
        if how == "file":
            with open(os.environ["JWT_TOKEN_FILE"]) as file:
                newest = file.read()
            if newest != token:
                renew(newest)
        elif how == "route" and ends_soon():
            if chance.random() < 0.2:
                ask("POST", "/tokens/refresh", read=False)
            renew(json.loads(ask("POST", "/tokens/refresh")[2])["token"])
        status, headers, body = ask("GET", "/events/wait/tick?timeout=%d" % chance.randrange(200, 900))
        brought = headers.get("X-Refreshed-Token")
        if how == "header" and brought:
            if chance.random() < 0.2:
                counts["lost"] += 1
            else:
                renew(brought)
        if status != 200:
            time.sleep(0.3)
    except (OSError, http.client.HTTPException):
        counts["unreachable"] += 1
        time.sleep(0.05)
print(json.dumps(counts), flush=True)
sys.exit(1 if counts["refused"] else 0)
"""
