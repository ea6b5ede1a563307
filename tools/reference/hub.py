"""Compares goxl's hub client with huggingface_hub: a server with the hub's routes, one cache, both clients. Writes nothing.

    python tools/reference/hub.py GOXL [-v]       GOXL: the program, as `go build ./cmd/goxl` makes it

The server has a tiny pipeline, files of LFS behind a redirect to another port, and cuts every other connection of that
port. Checked are: both clients make the same links to the same blobs; each finds complete, and offline, what the other
downloaded, without asking for content again; both at once download each blob once; the Python client finds no fault
with the cache, and takes over a revision that goxl updated. It ends with status 0 and "agree", else with what differs.
"""

import concurrent.futures
import hashlib
import http.server
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import urllib.parse

REPO, COMMIT = "maker/tiny-xl", "0123456789abcdef0123456789abcdef01234567"
os.environ.update(HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_TELEMETRY="1", HF_TOKEN="hf_test")


def pipeline():
    rng = random.Random(7)
    index = {"_class_name": "StableDiffusionXLPipeline", "unet": ["diffusers", "UNet2DConditionModel"],
             "vae": ["diffusers", "AutoencoderKL"], "scheduler": ["diffusers", "EulerDiscreteScheduler"]}
    files = {"model_index.json": json.dumps(index).encode(), "README.md": b"a model", "scheduler/scheduler_config.json": b"{}",
             "unet/config.json": b'{"a": 1}', "vae/config.json": b'{"b": 2}'}
    for name in ("unet", "vae"):
        for variant in ("", ".fp16"):
            files[f"{name}/diffusion_pytorch_model{variant}.safetensors"] = rng.randbytes(400_000 + len(files))
    return files


FILES = pipeline()
WANTED = sorted(f for f in FILES if f != "README.md" and not f.endswith("model.safetensors"))
lock, content_requests, cuts = threading.Lock(), [], [0]


def lfs(path):
    return path.endswith(".safetensors")


def etag(path):
    data = FILES[path]
    return hashlib.sha256(data).hexdigest() if lfs(path) else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for k, v in headers.items():
            self.send_header(k.replace("_", "-"), v)
        self.send_header("Content-Length", headers.pop("length", len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = lambda self: self.do_GET()


class Hub(Quiet):
    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)
        if self.headers.get("Authorization") != "Bearer hf_test":
            return self.answer(401, X_Error_Code="GatedRepo")
        api = f"/api/models/{REPO}/"
        if path in (api + "revision/main", api + "revision/" + COMMIT):
            siblings = []
            for f, data in FILES.items():
                one = {"rfilename": f, "size": len(data), "blobId": "0" * 40 if lfs(f) else etag(f)}
                if lfs(f):
                    one["lfs"] = {"sha256": etag(f), "size": len(data), "pointerSize": 135}
                siblings.append(one)
            body = json.dumps({"_id": "1", "id": REPO, "sha": COMMIT, "siblings": siblings, "private": False, "tags": [], "downloads": 0}).encode()
            return self.answer(200, body, Content_Type="application/json")
        if path == api + "tree/" + COMMIT:
            tree = []
            for f, data in FILES.items():
                one = {"type": "file", "path": f, "size": len(data), "oid": "0" * 40 if lfs(f) else etag(f)}
                if lfs(f):
                    one["lfs"] = {"oid": etag(f), "size": len(data), "pointerSize": 135}
                tree.append(one)
            return self.answer(200, json.dumps(tree).encode(), Content_Type="application/json")
        prefix = f"/{REPO}/resolve/"
        revision, _, f = path.removeprefix(prefix).partition("/")
        if not path.startswith(prefix) or f not in FILES:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        if not lfs(f):
            if self.command == "GET":
                with lock:
                    content_requests.append(f)
            return self.answer(200, FILES[f], ETag=f'"{etag(f)}"', X_Repo_Commit=COMMIT)
        return self.answer(302, X_Repo_Commit=COMMIT, X_Linked_ETag=f'"{etag(f)}"', X_Linked_Size=str(len(FILES[f])),
                           Location=f"http://127.0.0.1:{cdn.server_address[1]}/{f}?signature=1")


class Cdn(Quiet):
    def do_GET(self):
        f = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)[1:]
        data, start = FILES[f], 0
        assert "Authorization" not in self.headers, "the token went to the CDN"
        with lock:
            cuts[0] += 1
            cut = cuts[0] % 2
            content_requests.append(f)
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", len(data) - start)
        self.send_header("ETag", '"of the CDN"')
        self.end_headers()
        self.wfile.write(data[start:start + 150_000] if cut else data[start:])
        if cut:
            self.close_connection = True


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def links(cache):
    """Every file of the snapshot with its link, and the blobs and refs that there are."""
    root = os.path.join(cache, "models--maker--tiny-xl")
    out = {}
    for at, _, names in os.walk(os.path.join(root, "snapshots")):
        for name in names:
            path = os.path.join(at, name)
            assert os.path.islink(path), path
            out[os.path.relpath(path, root)] = os.readlink(path)
    for part in ("blobs", "refs"):
        out[part] = sorted(os.listdir(os.path.join(root, part)))
    out["main"] = open(os.path.join(root, "refs", "main")).read()
    return out


def main():
    goxl = os.path.abspath(sys.argv[1])
    import huggingface_hub
    from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download

    def pull(cache, *more, **env):
        done = subprocess.run([goxl, "pull", REPO, "-device", "cpu", "-precision", "fp16", "-quiet", *more], text=True, capture_output=True,
                              env={**os.environ, "HF_HUB_CACHE": cache, **env})
        if "-v" in sys.argv:
            print(done.stderr)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def python(cache, offline=False):
        return snapshot_download(REPO, cache_dir=cache, allow_patterns=WANTED, local_files_only=offline)

    with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b, tempfile.TemporaryDirectory() as c:
        mine, theirs = pull(a), python(b)
        assert os.path.relpath(mine, a) == os.path.relpath(theirs, b), (mine, theirs)
        ours, wanted = links(a), links(b)
        assert ours == wanted, f"goxl: {json.dumps(ours, indent=1)}\nPython: {json.dumps(wanted, indent=1)}"
        for f in WANTED:
            for folder in (mine, theirs):
                assert open(os.path.join(folder, f), "rb").read() == FILES[f], (folder, f)
        with lock:
            content_requests.clear()
        # Each takes what the other has downloaded, online and offline.
        assert python(a, offline=True) == mine and python(a) == mine
        for f in WANTED:
            assert hf_hub_download(REPO, f, cache_dir=a, local_files_only=True) == os.path.join(mine, f)
        assert pull(b) == theirs
        scan = scan_cache_dir(a)
        assert not scan.warnings, scan.warnings
        (repo,) = scan.repos
        assert repo.repo_id == REPO and {f.file_name for r in repo.revisions for f in r.files} == {os.path.basename(f) for f in WANTED}, repo
        with lock:
            assert not content_requests, f"downloaded again: {content_requests}"
        # Both at once: the locks let each blob be fetched by one of them.
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for done in [pool.submit(pull, c), pool.submit(python, c), pool.submit(pull, c)]:
                done.result()
        assert links(c) == wanted, links(c)
        with lock:
            counts = {f: content_requests.count(f) for f in WANTED}
        assert all(n <= (3 if lfs(f) else 1) for f, n in counts.items()), f"requests for content: {counts}"
        left = [name for folder in (a, b, c) for _, _, names in os.walk(folder) for name in names if name.endswith(".incomplete")]
        assert not left, left
    print(f"agree: goxl and huggingface_hub {huggingface_hub.__version__}")


hub, cdn = serve(Hub), serve(Cdn)
os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{hub.server_address[1]}"
main()
