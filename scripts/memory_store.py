"""A small S3 server in this process, for scripts that look at what is stored or change it.

It keeps objects in memory and checks no signatures. `Store().buckets` is a dictionary of buckets, each a
dictionary of objects by key.
"""
import hashlib, itertools, re, threading, time
from email.utils import formatdate
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape


class Object:
    def __init__(self, body, modified=None, etag=None):
        self.body = body
        self.modified = int(modified or time.time())
        self.etag = etag or hashlib.md5(body).hexdigest()


class Store:
    def __init__(self):
        self.buckets = {}
        self.uploads = {}  # the parts by number, by upload id
        self.upload_ids = itertools.count(1)
        self.operations = {}  # the operations other than reading, by bucket
        store = self

        class Handler(Request):
            def setup(self):
                self.store = store
                super().setup()

        self.server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=[0.05], daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        """A client may break a connection."""


class Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def respond(self, status=200, body=b"", **headers):
        body = body.encode() if isinstance(body, str) else body
        length = headers.pop("length", len(body))
        self.send_response_only(status)
        # The clock of the store, from which clients compute their skew.
        self.send_header("Date", formatdate(usegmt=True))
        for name, value in (headers | {"Content-Length": length}).items():
            self.send_header(name.replace("_", "-"), str(value))
        self._headers_buffer.append(b"\r\n" + (b"" if self.command == "HEAD" else body))
        self.flush_headers()

    def fail(self, status, code):
        self.respond(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>")

    def handle_method(self):
        path, _, query = self.path.partition("?")
        bucket, _, key = path.lstrip("/").partition("/")
        self.bucket, self.key = bucket, unquote(key)
        self.query = dict(parse_qsl(query, keep_blank_values=True))
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.objects = self.store.buckets.setdefault(bucket, {})
        if self.command not in ("GET", "HEAD"):
            self.store.operations.setdefault(bucket, []).append(f"{self.command} {self.path}")
        where = "object" if self.key else "bucket"
        getattr(self, f"{self.command}_{where}".lower(), lambda: self.fail(501, "NotImplemented"))()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_method

    def get_bucket(self):
        if "uploads" in self.query:
            return self.respond(body="<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>"
                                     "</ListMultipartUploadsResult>")
        if self.query.get("list-type") != "2":
            return self.fail(501, "NotImplemented")
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        after = self.query.get("start-after", "")
        contents, prefixes = [], set()
        for key, object in sorted(self.objects.items()):
            rest = key.removeprefix(prefix)
            if not key.startswith(prefix) or key <= after:
                continue
            if delimiter and delimiter in rest:
                prefixes.add(prefix + rest.split(delimiter)[0] + delimiter)
                continue
            modified = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(object.modified))
            contents.append(f"<Contents><Key>{quote(key)}</Key><LastModified>{modified}</LastModified>"
                            f"<ETag>&quot;{object.etag}&quot;</ETag><Size>{len(object.body)}</Size></Contents>")
        prefixes = (f"<CommonPrefixes><Prefix>{quote(p)}</Prefix></CommonPrefixes>" for p in sorted(prefixes))
        self.respond(body=f"<ListBucketResult><Prefix>{escape(prefix)}</Prefix><EncodingType>url</EncodingType>"
                          f"<IsTruncated>false</IsTruncated>{''.join(contents)}{''.join(prefixes)}"
                          "</ListBucketResult>")

    def post_bucket(self):
        keys = [unescape(key) for key in re.findall("<Key>(.*?)</Key>", self.body.decode())]
        for key in keys:
            self.objects.pop(key, None)
        deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        self.respond(body=f"<DeleteResult>{deleted}</DeleteResult>")

    def get_object(self):
        object = self.objects.get(self.key)
        if not object:
            return self.fail(404, "NoSuchKey")
        if self.headers.get("If-Match", object.etag).strip('"') != object.etag:
            return self.fail(412, "PreconditionFailed")
        headers = {"ETag": f'"{object.etag}"', "Last_Modified": formatdate(object.modified, usegmt=True)}
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not span:
            return self.respond(body=object.body, length=len(object.body), **headers)
        first, last = int(span[1]), min(int(span[2]), len(object.body) - 1)
        headers["Content_Range"] = f"bytes {first}-{last}/{len(object.body)}"
        self.respond(206, object.body[first:last + 1], **headers)

    head_object = get_object

    def put_object(self):
        etag = hashlib.md5(self.body).hexdigest()
        if "uploadId" in self.query:
            parts = self.store.uploads.get(self.query["uploadId"])
            if parts is None:
                return self.fail(404, "NoSuchUpload")
            parts[int(self.query["partNumber"])] = self.body
        else:
            self.objects[self.key] = Object(self.body, etag=etag)
        self.respond(ETag=f'"{etag}"')

    def post_object(self):
        if "uploads" in self.query:
            id = str(next(self.store.upload_ids))
            self.store.uploads[id] = {}
            return self.respond(body=f"<InitiateMultipartUploadResult>{self.subject()}<UploadId>{id}</UploadId>"
                                     "</InitiateMultipartUploadResult>")
        parts = self.store.uploads.pop(self.query["uploadId"], None)
        if parts is None:
            return self.fail(404, "NoSuchUpload")
        parts = [parts[number] for number in sorted(parts)]
        etag = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
        etag = f"{etag}-{len(parts)}"
        self.objects[self.key] = Object(b"".join(parts), etag=etag)
        self.respond(body=f"<CompleteMultipartUploadResult>{self.subject()}<ETag>&quot;{etag}&quot;</ETag>"
                          "</CompleteMultipartUploadResult>")

    def subject(self):
        return f"<Bucket>{self.bucket}</Bucket><Key>{escape(self.key)}</Key>"

    def delete_object(self):
        if "uploadId" in self.query:
            self.store.uploads.pop(self.query["uploadId"], None)
        else:
            self.objects.pop(self.key, None)
        self.respond(204)
