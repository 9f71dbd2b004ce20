"""Who is told, on loopback: a web server and a mail server that keep what they get, and an Alertmanager in front of them."""

import email
import email.policy
import json
import subprocess
import threading
import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import create_server

import yaml
from aiosmtpd.controller import Controller

from common import demand
from shipped import CONFIG, TEMPLATES, read

SECONDS = 30


def until(holds, otherwise):
    """What is waited for, as soon as it is there."""
    end = time.monotonic() + SECONDS
    while not (found := holds()):
        demand(time.monotonic() < end, f"{otherwise}, for {SECONDS} seconds")
        time.sleep(0.05)
    return found


def free_port():
    with create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Hooks:
    """Keeps what is posted to it, as (path, document)."""

    def __init__(self):
        self.got = []
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got.append((self.path, json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Mails:
    """Keeps mails, as (recipient without its domain, message)."""

    def __init__(self):
        self.got, self.port = [], free_port()
        self.server = Controller(self, hostname="127.0.0.1", port=self.port)
        self.server.start()

    async def handle_DATA(self, _server, _session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.got += [(to.partition("@")[0], message) for to in envelope.rcpt_tos]
        return "250 OK"

    def stop(self):
        self.server.stop()


class Alertmanager:
    """The shipped configuration, in a hurry, and with its receivers here."""

    def __init__(self, scratch, hooks, mails):
        config = read(CONFIG)
        config["global"]["smtp_smarthost"] = f"127.0.0.1:{mails.port}"
        config["templates"] = [f"{TEMPLATES}/*.tmpl"]
        for receiver in config["receivers"]:
            for to in receiver.get("email_configs", []):
                to["to"] = f"{receiver['name']}@localhost"
            for to in receiver.get("webhook_configs", []):
                to["url"] = f"http://127.0.0.1:{hooks.port}/{receiver['name']}"
        self.hurry(config["route"])
        path = scratch / "alertmanager.yml"
        path.write_text(yaml.safe_dump(config))
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = (scratch / "alertmanager.log").open("w+")
        command = [
            "prometheus-alertmanager", f"--config.file={path}", f"--storage.path={scratch / 'alertmanager'}",
            f"--web.listen-address={self.url.removeprefix('http://')}", "--cluster.listen-address=",
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        until(self.is_ready, "Alertmanager does not answer")

    def hurry(self, route):
        for key in ("group_wait", "group_interval"):
            if key in route:
                route[key] = "1s"
        if route["receiver"] == "dead-man-switch":
            route["repeat_interval"] = "1s"
        for child in route.get("routes", []):
            self.hurry(child)

    def is_ready(self):
        if self.process.poll() is not None:
            self.log.seek(0)
            demand(False, f"Alertmanager has ended: {self.log.read()}")
        try:
            return urllib.request.urlopen(f"{self.url}/-/ready").status == 200
        except (urllib.error.URLError, ConnectionError):
            return False

    def post(self, what, document):
        body = json.dumps(document).encode()
        request = urllib.request.Request(f"{self.url}/api/v2/{what}", body, {"Content-Type": "application/json"})
        try:
            return urllib.request.urlopen(request).read()
        except urllib.error.HTTPError as error:
            demand(False, f"Alertmanager refuses {document}: {error.read().decode()}")

    def alerts(self):
        return json.load(urllib.request.urlopen(f"{self.url}/api/v2/alerts"))

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


def moment(seconds=0):
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()
