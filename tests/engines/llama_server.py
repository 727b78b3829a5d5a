"""llama.cpp's HTTP server, from the wheel of xllamacpp: MODEL PORT [CONTEXT] [OPTION VALUE ...].

The options are those of llama-server that `mlxplan recommend --for llama.cpp` prints; each is set on the parameter of
llama.cpp that llama-server sets (common/arg.cpp). With options the log is verbose.
"""

import sys
import time

import xllamacpp

FLASH = xllamacpp.llama_flash_attn_type


def cache_type(name):
    return getattr(xllamacpp.ggml_type, "GGML_TYPE_" + name.upper())


def flash(state):
    return {
        "on": FLASH.LLAMA_FLASH_ATTN_TYPE_ENABLED,
        "off": FLASH.LLAMA_FLASH_ATTN_TYPE_DISABLED,
        "auto": FLASH.LLAMA_FLASH_ATTN_TYPE_AUTO,
    }[state]


OPTIONS = {
    "--ctx-size": ("n_ctx", int),
    "--parallel": ("n_parallel", int),
    "--ubatch-size": ("n_ubatch", int),
    "--cache-type-k": ("cache_type_k", cache_type),
    "--cache-type-v": ("cache_type_v", cache_type),
    "--flash-attn": ("flash_attn_type", flash),
    "--cache-ram": ("cache_ram_mib", int),
}

model, port, *rest = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path = model
params.hostnames = ["127.0.0.1"]
params.port = int(port)
params.n_parallel = 2
params.kv_unified = not any(word.startswith("--") for word in rest)
params.cpuparams.n_threads = 2
if rest and not rest[0].startswith("--"):
    params.n_ctx = int(rest.pop(0))
if rest:
    params.verbosity = 4
while rest:
    option = rest.pop(0)
    if option == "--kv-unified":
        params.kv_unified = True
        continue
    name, read = OPTIONS[option]
    assert hasattr(params, name), f"llama.cpp has no parameter {name}"
    setattr(params, name, read(rest.pop(0)))
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
while True:
    time.sleep(3600)
