"""A systemd-journald of a test's own, in a mount namespace in which /run and the journal are nobody else's.

Does not know: what is written to it.
"""

import json
import os
import socket
import subprocess
from pathlib import Path

from common import cannot, demand
from servers import STUCK_SECONDS

JOURNALD = "/lib/systemd/systemd-journald"

# Makes the namespace, says so, and stays until nobody listens any more.
PLACE = """set -e
for dir in /run /var/log; do mount -t tmpfs -o mode=755 tmpfs $dir; done
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal
cat > /run/systemd/journald.conf.d/test.conf <<END
[Journal]
Storage=volatile
RateLimitBurst=0
ReadKMsg=no
Audit=no
ForwardToSyslog=no
ForwardToKMsg=no
ForwardToConsole=no
ForwardToWall=no
END
echo made
read end
"""


class Journal:
    def __init__(self, directory):
        # What a user who is not root needs besides.
        rootless = os.geteuid() != 0
        make = ["unshare", "--mount", "--propagation=private", *(["--user", "--map-root-user"] if rootless else [])]
        make += ["--", "/bin/sh", "-c", PLACE]
        self.keeper = subprocess.Popen(make, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.enter = ["nsenter", "--mount", f"--target={self.keeper.pid}"]
        self.enter += ["--user", "--preserve-credentials", "--"] if rootless else ["--"]
        self.journald = None
        if self.keeper.stdout.readline() != "made\n" or not Path(JOURNALD).exists():
            self.stop()
            cannot("there is no systemd-journald, or no namespace for it")
        try:
            self.start(directory)
        except BaseException:
            self.stop()
            raise

    def start(self, directory):
        """Until it listens."""
        path = directory / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(path))
            ready.settimeout(STUCK_SECONDS)
            with (directory / "journald.log").open("w") as log:
                self.journald = subprocess.Popen(
                    self.inside(JOURNALD), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"NOTIFY_SOCKET": str(path)}
                )
            while "READY=1" not in ready.recv(4096).decode().split("\n"):
                pass

    def inside(self, *command):
        """That command, in there; its process is the command's own."""
        return [*self.enter, *(str(word) for word in command)]

    def entries(self, *matches):
        """Those of kiln's that match, in order, once everything that was sent is there."""
        self.ask("--sync")
        return [json.loads(line) for line in self.ask("-t", "kiln", "--output=json", "--all", *matches).splitlines()]

    def ask(self, *arguments):
        done = subprocess.run(
            self.inside("journalctl", "--quiet", *arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        demand(done.returncode == 0, f"journalctl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def stop(self):
        if self.journald:
            self.journald.kill()
            self.journald.wait()
        # It ends when nobody can write to it any more.
        self.keeper.stdin.close()
        self.keeper.wait()
