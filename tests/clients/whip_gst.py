"""python3 whip_gst.py URL TICKET: publishes a moving picture and a tone by WHIP for ten seconds, with GStreamer's whipsink."""

import http.server
import re
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from hashlib import sha256
from urllib.parse import urlsplit

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst

PICTURE = "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=15/1 ! vp8enc deadline=1 keyframe-max-dist=30"
SOUND = "audiotestsrc is-live=true ! opusenc"


def certificate():
    """An ECDSA certificate and its key: the server's DTLS knows no RSA, and what GStreamer makes by itself is RSA."""
    with tempfile.TemporaryDirectory() as folder:
        key, cert = f"{folder}/key.pem", f"{folder}/cert.pem"
        ask = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
        subprocess.run([*ask, "-subj", "/CN=whip", "-keyout", key, "-out", cert], check=True, capture_output=True)
        return open(cert).read(), open(key).read()


def fingerprint(cert):
    digest = sha256(ssl.PEM_cert_to_DER_cert(cert)).hexdigest().upper()
    return ":".join(digest[at : at + 2] for at in range(0, 64, 2))


def doorman(url, print_of_cert):
    """Passes requests on. webrtcbin 1.22 takes the key for a part of a certificate that it is given, so its offer has a wrong fingerprint."""

    class Doorman(http.server.BaseHTTPRequestHandler):
        def pass_on(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            body = re.sub(r"a=fingerprint:sha-256 [0-9A-F:]+", f"a=fingerprint:sha-256 {print_of_cert}", body)
            kept = {name: self.headers[name] for name in ("authorization", "content-type") if self.headers[name]}
            target = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}{self.path}"
            asked = urllib.request.Request(target, body.encode() or None, kept, method=self.command)
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
    return f"http://127.0.0.1:{server.server_port}{urlsplit(url).path}"


def main(url, token):
    Gst.init(None)
    cert, key = certificate()
    pipeline = Gst.parse_launch(
        f"whipsink name=whip whip-endpoint={doorman(url, fingerprint(cert))} auth-token={token} "
        f"{PICTURE} ! rtpvp8pay ! application/x-rtp,media=video,encoding-name=VP8,payload=96 ! whip.sink_0 "
        f"{SOUND} ! rtpopuspay ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97 ! whip.sink_1"
    )

    def added(_pipeline, _bin, element):
        if element.get_factory() and element.get_factory().get_name() == "dtlsdec":
            element.set_property("pem", cert + key)

    pipeline.connect("deep-element-added", added)
    pipeline.set_state(Gst.State.PLAYING)
    failed = pipeline.get_bus().timed_pop_filtered(10 * Gst.SECOND, Gst.MessageType.ERROR)
    state = pipeline.get_by_name("whip-webrtcbin").get_property("connection-state").value_nick
    # The goodbye: the sink asks the server to end the session.
    pipeline.set_state(Gst.State.NULL)
    if failed:
        print(failed.parse_error())
    print(f"published over a connection that was {state}")
    return 0 if state == "connected" and not failed else 1


sys.exit(main(*sys.argv[1:3]))
