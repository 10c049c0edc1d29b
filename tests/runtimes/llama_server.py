"""llama.cpp's own server, run by the xllamacpp wheel: `llama_server.py MODEL VISION_PART`; prints its address."""

import sys

import xllamacpp


def parameters(model: str, vision_part: str) -> xllamacpp.CommonParams:
    given = xllamacpp.CommonParams()
    given.model.path = model
    given.mmproj.path = vision_part
    given.hostnames = ["127.0.0.1"]
    given.port = 0
    given.n_ctx = 1024
    given.n_parallel = 2
    given.warmup = False
    given.endpoint_metrics = True
    given.endpoint_slots = True
    given.cpuparams.n_threads = 1
    return given


if __name__ == "__main__":
    server = xllamacpp.Server(parameters(*sys.argv[1:]))
    print(server.listening_address, flush=True)
    sys.stdin.read()  # until the test closes it
