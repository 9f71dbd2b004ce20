"""Who is told, on loopback: a web server and a mail server that keep what they get, and the shipped configuration that leads there."""

import email
import email.policy
import json
import threading
import time
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml
from aiosmtpd.controller import Controller

from servers import free_port
from shipped import CONFIG, TEMPLATES, read


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
    """Keeps mails, as (recipient without its domain, message); a message knows when it `came`."""

    def __init__(self):
        self.got, self.port = [], free_port()
        self.server = Controller(self, hostname="127.0.0.1", port=self.port)
        self.server.start()

    async def handle_DATA(self, _server, _session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        message.came = time.time()
        self.got += [(to.partition("@")[0], message) for to in envelope.rcpt_tos]
        return "250 OK"

    def stop(self):
        self.server.stop()


# What Debian's alertmanager.yml begins with: what is shipped has to work below it.
FOREIGN_ROUTE = {
    "group_by": ["alertname", "cluster", "service"],
    "group_wait": "30s",
    "group_interval": "5m",
    "repeat_interval": "3h",
    "receiver": "somebody-else",
}


def configuration(directory, hooks, mails, **urls):
    """What is shipped, put into another configuration, and in a hurry: webhooks lead to `hooks` but for those of `urls`, mails to `mails`.
    Where it is."""
    config = read(CONFIG)
    config["route"] = FOREIGN_ROUTE | {"routes": config["route"]["routes"]}
    config["receivers"].append({"name": "somebody-else"})
    config["global"]["smtp_smarthost"] = f"127.0.0.1:{mails.port}"
    config["templates"] = [f"{TEMPLATES}/*.tmpl"]
    for receiver in config["receivers"]:
        name = receiver["name"]
        for to in receiver.get("email_configs", []):
            to["to"] = f"{name}@localhost"
        for to in receiver.get("webhook_configs", []):
            to["url"] = urls.get(name, f"http://127.0.0.1:{hooks.port}/{name}")
    hurry(config["route"])
    path = directory / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def hurry(route):
    for key in ("group_wait", "group_interval"):
        if key in route:
            route[key] = "1s"
    if route["receiver"] == "dead-man-switch":
        route["repeat_interval"] = "1s"
    for child in route.get("routes", []):
        hurry(child)


def moment(seconds=0):
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()
