"""Checks that huggingface_hub and rxtune make and read the same cache, against a small Hub on the loopback.

python reference/hub_cache.py   (after `npm run build`; written with huggingface_hub 1.33)
"""
import hashlib
import json
import os
import pathlib
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ID, COMMIT = "acme/tiny", hashlib.sha1(b"acme/tiny").hexdigest()
FILES = {
    "config.json": (b'{"model_type": "gpt2"}', False),
    "tokenizer.json": (b"{}", False),
    "model.safetensors": (bytes(range(256)) * 4096, True),
}


def etag(content, lfs):
    return hashlib.sha256(content).hexdigest() if lfs else hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in {"content-length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path.startswith(f"/api/models/{ID}/tree/"):
            entry = lambda name: {"type": "file", "oid": etag(FILES[name][0], False), "size": len(FILES[name][0]), "path": name}  # noqa: E731
            return self.answer(200, {"content-type": "application/json"}, json.dumps([entry(name) for name in FILES]).encode())
        if path.startswith(f"/api/models/{ID}"):
            siblings = [{"rfilename": name} for name in FILES]
            info = {"id": ID, "sha": COMMIT, "siblings": siblings, "private": False, "tags": [], "downloads": 0, "likes": 0}
            return self.answer(200, {"content-type": "application/json"}, json.dumps(info).encode())
        if path.startswith(f"/{ID}/resolve/"):
            content, lfs = FILES[path.split("/")[-1]]
            head = {"x-repo-commit": COMMIT, "etag": f'"{etag(content, lfs)}"'}
            if not lfs:
                return self.answer(200, head, content)
            linked = {"x-linked-etag": f'"{etag(content, lfs)}"', "x-linked-size": len(content)}
            return self.answer(302, {**head, **linked, "location": f"http://localhost:{self.server.server_port}/cdn"})
        if path == "/cdn":
            return self.answer(200, {}, FILES["model.safetensors"][0])
        return self.answer(404, {"x-error-code": "EntryNotFound"})

    do_HEAD = do_GET


server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
os.environ["HF_HUB_DISABLE_XET"] = os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download  # noqa: E402

script = pathlib.Path(__file__).with_name("fetch_hub.mjs")


def ours(cache, **env):
    call = subprocess.run(
        ["node", script, ID], env={**os.environ, "HF_HUB_CACHE": cache, **env}, capture_output=True, text=True
    )
    assert call.returncode == 0, call.stderr
    return call.stdout.strip()


def tree(cache):
    """Paths below the repository's folder: link targets and contents, without what each keeps for itself."""
    root = pathlib.Path(cache, "models--acme--tiny")
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name.split("/")[0] not in ("blobs", "refs", "snapshots") or path.is_dir():
            continue
        found[name] = os.readlink(path) if path.is_symlink() else hashlib.sha1(path.read_bytes()).hexdigest()
    return found


with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
    mine = ours(a)
    theirs = snapshot_download(ID, cache_dir=b)
    assert tree(a) == tree(b), (tree(a), tree(b))
    assert snapshot_download(ID, cache_dir=a, local_files_only=True) == mine
    assert hf_hub_download(ID, "model.safetensors", cache_dir=a, local_files_only=True) == mine + "/model.safetensors"
    (repo,) = scan_cache_dir(a).repos
    assert (repo.repo_id, repo.nb_files, repo.size_on_disk) == (ID, 3, sum(len(c) for c, _ in FILES.values())), repo
    assert not scan_cache_dir(a).warnings, scan_cache_dir(a).warnings
    assert ours(b, HF_HUB_OFFLINE="1") == theirs
    print(f"the same cache, {len(tree(a))} entries; each finds the other's")
