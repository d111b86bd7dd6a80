"""What whip_gst.py and whep_gst.py share: a certificate that the server takes, the offer put right on its way, ten seconds of a pipeline."""

import http.server
import re
import ssl
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from hashlib import sha256
from urllib.parse import urlsplit

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst

Gst.init(None)


def certificate():
    """An ECDSA certificate and its key: the server's DTLS knows no RSA, and what GStreamer makes by itself is RSA."""
    with tempfile.TemporaryDirectory() as folder:
        key, cert = f"{folder}/key.pem", f"{folder}/cert.pem"
        ask = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
        subprocess.run([*ask, "-subj", "/CN=gst", "-keyout", key, "-out", cert], check=True, capture_output=True)
        return open(cert).read(), open(key).read()


def doorman(url, cert):
    """Passes requests on. webrtcbin 1.22 takes the key for a part of a certificate that it is given, so its offer has a wrong fingerprint."""
    right = f"a=fingerprint:sha-256 {fingerprint(cert)}"
    origin = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"

    class Doorman(http.server.BaseHTTPRequestHandler):
        def pass_on(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            body = re.sub(r"a=fingerprint:sha-256 [0-9A-F:]+", right, body)
            kept = {name: self.headers[name] for name in ("authorization", "content-type") if self.headers[name]}
            asked = urllib.request.Request(origin + self.path, body.encode() or None, kept, method=self.command)
            try:
                answer = urllib.request.urlopen(asked)
            except urllib.error.HTTPError as refused:
                answer = refused
            text = answer.read()
            self.send_response(answer.status)
            for name in ("location", "content-type", "etag"):
                if answer.headers[name]:
                    self.send_header(name, answer.headers[name])
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_DELETE = do_PATCH = pass_on

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Doorman)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}{url.removeprefix(origin)}"


def fingerprint(cert):
    digest = sha256(ssl.PEM_cert_to_DER_cert(cert)).hexdigest().upper()
    return ":".join(digest[at : at + 2] for at in range(0, 64, 2))


def play(pipeline, cert, key):
    """Ten seconds with this certificate. Returns the state of the connection at their end: "failed" after an error, which it prints."""

    def added(_pipeline, _bin, element):
        if element.get_factory() and element.get_factory().get_name() == "dtlsdec":
            element.set_property("pem", cert + key)

    pipeline.connect("deep-element-added", added)
    pipeline.set_state(Gst.State.PLAYING)
    failed = pipeline.get_bus().timed_pop_filtered(10 * Gst.SECOND, Gst.MessageType.ERROR)
    _, webrtcbin = pipeline.iterate_all_by_element_factory_name("webrtcbin").next()
    state = webrtcbin.get_property("connection-state").value_nick
    # The goodbye: whipsink and whepsrc ask the server to end the session.
    pipeline.set_state(Gst.State.NULL)
    if failed:
        print(*failed.parse_error())
    return "failed" if failed else state
