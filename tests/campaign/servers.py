"""Prometheus and Alertmanager on loopback, each at a port that is free, and how to wait for what they do.

Does not know: what is scraped, who is told of what.
"""

import contextlib
import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

from common import demand

# After this a test is stuck. Nothing depends on how long anything takes.
STUCK_SECONDS = 60


def until(holds, otherwise, seconds=STUCK_SECONDS):
    """What is waited for, as soon as it is there."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        demand(time.monotonic() < end, f"{otherwise}, for {seconds} seconds")
        time.sleep(0.05)
    return found


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Server:
    """A program that listens at `address`, until it is stopped."""

    def __init__(self, program, *options, address, log):
        self.name, self.url = program, f"http://{address}"
        self.log = log.open("w+")
        command = [program, f"--web.listen-address={address}", *options]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            until(self.is_ready, f"{self.name} does not answer")
        except BaseException:
            self.stop()
            raise

    def is_ready(self):
        demand(self.process.poll() is None, f"{self.name} has ended:\n{self.said()}")
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{self.url}/-/ready", timeout=5).status == 200
        return False

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def ask(self, path, document=None, **parameters):
        """What it answers; a ValueError is what it has against that."""
        url = f"{self.url}/api/{path}" + (f"?{urllib.parse.urlencode(parameters)}" if parameters else "")
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                said = answer.read()
                return json.loads(said) if said else None
        except urllib.error.HTTPError as error:
            raise ValueError(f"{self.name} refuses {document or parameters}: {error.read().decode()}") from error


class Prometheus(Server):
    """Scrapes `targets`, as job kiln, and looks at rules, each second."""

    def __init__(self, directory, targets, rules, alertmanager=None):
        document = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "kiln", "static_configs": [{"targets": targets}]}],
        }
        if alertmanager:
            tells = {"static_configs": [{"targets": [alertmanager.url.removeprefix("http://")]}]}
            document["alerting"] = {"alertmanagers": [tells]}
        config = directory / "prometheus.yml"
        config.write_text(json.dumps(document))
        # What it tells before it has found its Alertmanager, at its start or when it has read its configuration again, is lost: it tells
        # it again after a minute, if that is not said otherwise.
        super().__init__(
            "prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'prometheus'}", "--log.level=warn",
            "--rules.alert.resend-delay=5s", address=f"127.0.0.1:{free_port()}", log=directory / "prometheus.log",
        )  # fmt: skip

    def get(self, what, **parameters):
        return self.ask(f"v1/{what}", **parameters)["data"]

    def query(self, expression, when=None):
        return self.get("query", query=expression, **({"time": when} if when else {}))["result"]

    def query_range(self, expression, start, end, step):
        return self.get("query_range", query=expression, start=start, end=end, step=step)["result"]

    def has(self, expression):
        return bool(self.query(expression))


class Alertmanager(Server):
    def __init__(self, directory, config):
        super().__init__(
            "prometheus-alertmanager", f"--config.file={config}", f"--storage.path={directory / 'alertmanager'}",
            "--cluster.listen-address=", address=f"127.0.0.1:{free_port()}", log=directory / "alertmanager.log",
        )  # fmt: skip

    def post(self, what, document):
        return self.ask(f"v2/{what}", document)

    def alerts(self):
        return self.ask("v2/alerts")
