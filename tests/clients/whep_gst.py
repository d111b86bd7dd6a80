"""python3 whep_gst.py URL TICKET: views by WHEP for ten seconds with GStreamer's whepsrc and counts what it decodes."""

import sys

from gst import Gst, certificate, doorman, play

# What the server can send and GStreamer 1.22 decodes. whepsrc by itself offers Opus without its two channels, which the server refuses, and
# H264 without packetization-mode 1, which is how it is published.
SOUND = "application/x-rtp,media=audio,clock-rate=48000,encoding-name=OPUS,encoding-params=(string)2,payload=96"
H264 = "H264,packetization-mode=(string)1,profile-level-id=(string)"
PICTURE = ";".join(
    f"application/x-rtp,media=video,clock-rate=90000,encoding-name={codec},payload={payload}"
    for payload, codec in enumerate(("VP8", "VP9", f"{H264}42e01f", f"{H264}42001f"), 97)
)


def main(url, token):
    cert, key = certificate()
    pipeline = Gst.Pipeline()
    whep = Gst.parse_launch(
        f'whepsrc whep-endpoint={doorman(url, cert)} auth-token={token} audio-caps="{SOUND}" video-caps="{PICTURE}"'
    )
    pipeline.add(whep)
    seen = {"audio/x-raw": 0, "video/x-raw": 0}
    sizes = set()

    def decoded(_last, _buffer, pad):
        shape = pad.get_current_caps().get_structure(0)
        seen[shape.get_name()] += 1
        if shape.has_field("width"):
            sizes.add(f"{shape.get_value('width')}x{shape.get_value('height')}")

    def received(_whep, pad):
        decode = Gst.parse_bin_from_description("decodebin name=first ! fakesink name=last async=false signal-handoffs=true", False)
        decode.add_pad(Gst.GhostPad.new("sink", decode.get_by_name("first").get_static_pad("sink")))
        decode.get_by_name("last").connect("handoff", decoded)
        pipeline.add(decode)
        decode.sync_state_with_parent()
        pad.link(decode.get_static_pad("sink"))

    whep.connect("pad-added", received)
    state = play(pipeline, cert, key)
    frames, sounds = seen["video/x-raw"], seen["audio/x-raw"]
    print(f"{frames} frames of {' and '.join(sorted(sizes)) or 'none'}, {sounds} buffers of sound over a connection that was {state}")
    return 0 if state == "connected" and (frames or sounds) else 1


sys.exit(main(*sys.argv[1:3]))
