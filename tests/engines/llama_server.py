"""llama.cpp's HTTP server, from the wheel of xllamacpp: MODEL PORT CONTEXT [VERBOSITY]."""

import sys
import time

import xllamacpp

model, port, context = sys.argv[1:4]
params = xllamacpp.CommonParams()
params.model.path = model
params.hostnames = ["127.0.0.1"]
params.port = int(port)
params.n_ctx = int(context)
params.n_parallel = 2
params.kv_unified = True
params.cpuparams.n_threads = 2
if len(sys.argv) > 4:
    params.verbosity = int(sys.argv[4])
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
while True:
    time.sleep(3600)
