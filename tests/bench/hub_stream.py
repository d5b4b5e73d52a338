"""Compare streaming a repository of the Hub with downloading it and hashing what came, in CPU seconds of the client.

    python tests/bench/hub_stream.py [--gigabytes 1] [--runs 1]

Serves a signed model without steps from a Hub on this machine, in a process of its own, and runs in turn, each in a
process of its own: `attest verify` of the repository; `snapshot_download`, and then `attest verify` of the folder; and
`snapshot_download`, and then plain SHA-256 of its files. CPU seconds are the figure, user and system, because the time
over a loopback is that of both sides; peak memory is that of the client.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SHARD_BYTES = 256 << 20
TENSORS_PER_SHARD = 8

SERVE = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.hub.server import Running
running = Running(Path(sys.argv[2]))
running.hub.storage.add_folder("bench/model", Path(sys.argv[1]))
print(running.hub.url, flush=True)
time.sleep(1 << 20)
"""

CLIENTS = {
    "attest verify org/model": """
verify("hf:bench/model")
""",
    "snapshot_download, attest verify": """
from huggingface_hub import snapshot_download
verify(snapshot_download("bench/model"))
""",
    "snapshot_download, SHA-256": """
import hashlib
from huggingface_hub import snapshot_download
for path in Path(snapshot_download("bench/model")).rglob("*.safetensors"):
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")
""",
}
PRELUDE = """
import json, resource, sys, time
from pathlib import Path
from model_attest import cli
def verify(reference):
    code = cli.run(["verify", reference, "--key", sys.argv[1], "--json"])
    assert code == 0, code
started = time.monotonic()
"""
EPILOGUE = """
own = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([own.ru_utime + own.ru_stime, time.monotonic() - started, own.ru_maxrss / 1e6]), file=sys.stderr)
"""


def write_model(folder: Path, shards: int) -> None:
    """Write a sharded checkpoint of random bytes, with an index."""
    folder.mkdir()
    size = SHARD_BYTES // TENSORS_PER_SHARD
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        name = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        tensors = [f"layers.{shard}.{place}.weight" for place in range(TENSORS_PER_SHARD)]
        weight_map |= dict.fromkeys(tensors, name)
        header = json.dumps(
            {
                tensor: {"dtype": "U8", "shape": [size], "data_offsets": [place * size, (place + 1) * size]}
                for place, tensor in enumerate(tensors)
            }
        ).encode()
        with (folder / name).open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for _ in tensors:
                file.write(os.urandom(size))
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def attest(*arguments: str) -> None:
    script = "import sys; from model_attest import cli; sys.exit(cli.run(sys.argv[1:]))"
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, stdout=subprocess.DEVNULL)


def measure(client: str, key: Path, url: str) -> tuple[float, float, float]:
    """Return CPU seconds, seconds and peak gigabytes of one client with an empty cache."""
    with tempfile.TemporaryDirectory(dir=key.parent) as home:
        environment = {
            **os.environ,
            "HF_ENDPOINT": url,
            "HF_HOME": home,
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        code = PRELUDE + CLIENTS[client] + EPILOGUE
        done = subprocess.run(
            [sys.executable, "-c", code, key], env=environment, capture_output=True, text=True, check=True
        )
    cpu_s, elapsed_s, peak_gb = json.loads(done.stderr.splitlines()[-1])
    return cpu_s, elapsed_s, peak_gb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    shards = max(1, round(options.gigabytes * 1e9 / SHARD_BYTES))
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_model(root / "model", shards)
        attest("keygen", "--out", f"{root}/lab")
        attest("sign", f"{root}/model", "--key", f"{root}/lab", "--uri", "pkg:huggingface/bench/model")
        repository = str(Path(__file__).parents[2])
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, root / "model", root / "hub", repository], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            for run in range(options.runs):
                for client in CLIENTS:
                    cpu_s, elapsed_s, peak_gb = measure(client, root / "lab.pub", url)
                    size_gb = shards * SHARD_BYTES / 1e9
                    print(
                        f"run {run + 1}  {client:34}  {cpu_s:6.2f} CPU s  {size_gb / cpu_s:5.2f} GB per CPU s"
                        f"  {elapsed_s:6.2f} s  peak {peak_gb:.2f} GB",
                        flush=True,
                    )
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
