"""The jobs of scripts/system-call-faults: what is there before a run, and what must hold after it.

A job has a state at the time of an earlier run (`begin`), a first run, changes since then (`change`), and the run
in which a call fails (`command`), which ends with the exit code `code` if no call fails. After it, `check` looks
at both sides, `recover` may do something else first, and `finish` lets the next runs complete the work.
"""
import os, re, shutil, signal, stat, subprocess, time
from pathlib import Path

from memory_store import Object

#: After this time in seconds, a file counts as unchanged for long enough to be recorded.
SETTLED = 2.1
TIME_LIMIT = 30

#: A file of two parts. The bytes in the middle are zeros.
PART_SIZE = 5 << 20
LARGE_OLD, LARGE_NEW = (
    word * 1024 + bytes(PART_SIZE) + word * 1024 for word in (b"old ", b"new ")
)

# ---- A directory and a bucket ---------------------------------------------------------------------------


class World:
    """A directory, a bucket, and a record. All paths of a case are relative to `dir`."""
    s3keep = None  # the binary

    def __init__(self, place, store, number):
        self.dir = place / f"w{number}"
        self.root = self.dir / "root"
        self.store, self.bucket = store, f"bucket-{number}"
        self.objects = store.buckets.setdefault(self.bucket, {})
        self.root.mkdir(parents=True)
        self.ready = 0
        self.changed()

    def changed(self):
        self.ready = time.monotonic() + SETTLED

    def write(self, path, content, age=None, mode=0o644):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            if len(content) > PART_SIZE:
                file.write(content[:4096])
                file.seek(len(content) - 4096)
                content = content[-4096:]
            file.write(content)
        path.chmod(mode)
        if age:
            os.utime(path, ns=(1, time.time_ns() - age * 10**9))

    def put(self, path, content, age):
        self.objects[path] = Object(content, time.time() - age)

    def relative(self, path):
        """A path in the form that cases have: below `dir`, and with a placeholder for the name of the record."""
        slash = "/" * path.endswith("/")
        return re.sub(r"\w+\.record", "RECORD", os.path.relpath(path, self.dir) + slash)

    def absolute(self, path):
        slash = "/" * path.endswith("/")
        record = next(self.dir.glob("cache/s3keep/*.record")).name
        return os.path.normpath(self.dir / path.replace("RECORD", record)).rstrip("/") + slash or "/"

    def run(self, direction, before=()):
        """Runs s3keep. Returns its exit code and what it printed."""
        dir, bucket = str(self.root), f"s3://{self.bucket}"
        locations = [dir, bucket] if direction == "backup" else [bucket, dir]
        options = "--yes --quiet --list --workers 1 --part-size 5MiB --retries 1".split()
        env = {
            "PATH": os.environ["PATH"], "HOME": str(self.dir), "XDG_CACHE_HOME": str(self.dir / "cache"),
            "AWS_ENDPOINT_URL_S3": self.store.endpoint, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s",
            "AWS_EC2_METADATA_DISABLED": "true", "RAYON_NUM_THREADS": "1", "RUST_BACKTRACE": "1",
        }
        process = subprocess.Popen([*before, self.s3keep, direction, *locations, *options], env=env, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   process_group=0)
        try:
            output, _ = process.communicate(timeout=TIME_LIMIT)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            return "a timeout", output
        # strace says that a path with a slash at its end has another form without it.
        return process.returncode, re.sub("^strace: .*\n", "", output, flags=re.MULTILINE)

    def files(self):
        """All entries but directories: kind and mode, content, modification time, inode."""
        found = {}
        for top, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(top, name)
                status = os.lstat(path)
                content = os.readlink(path) if stat.S_ISLNK(status.st_mode) else Path(path).read_bytes()
                found[os.path.relpath(path, self.root)] = (status.st_mode, content, status.st_mtime_ns,
                                                           status.st_ino)
        return found

    def contents(self):
        """What a backup stores: the content by path, that of the target for a link."""
        paths = (path for path in self.files() if not is_own(path))
        return {path: (self.root / path).read_bytes() for path in paths}

    def stored(self):
        return {key: object.body for key, object in self.objects.items()}

    def own_files(self):
        return [path for path in self.files() if is_own(path)]

    def remove(self):
        shutil.rmtree(self.dir)
        del self.store.buckets[self.bucket]
        self.store.operations.pop(self.bucket, None)


def is_own(path):
    """Whether it is a temporary file or a restore marker."""
    return re.fullmatch(r"\.s3keep-[0-9a-f]{16}\.(part|restore)", os.path.basename(path)) is not None


# ---- The two jobs ---------------------------------------------------------------------------------------


class Failure(Exception):
    pass


def require(condition, text):
    if not condition:
        raise Failure(text)


def complete(world, command):
    """The next run completes the job, and the one after that has nothing to do."""
    code, output = world.run(command)
    require(code == 0, f"the next run ended with {code}\n{output}")
    require(world.contents() == world.stored(), f"after the next run, both sides differ\n{output}")
    require(not world.own_files(), f"after the next run, these are left: {world.own_files()}\n{output}")
    files = world.files()
    world.store.operations[world.bucket] = []
    code, output = world.run(command)
    require(code == 0, f"the second next run ended with {code}\n{output}")
    done = world.store.operations[world.bucket]
    require(not done and world.files() == files, f"the second next run did something: {done}\n{output}")


class Backup:
    name, command, code = "backup", "backup", 0

    first = "backup"

    @staticmethod
    def begin(world):
        """The state at the time of an earlier run."""
        for path, content in {"same": b"same", "dir/changed": b"old", "dir/touched": b"AAAA", "large": LARGE_OLD,
                              "dir/deep/moved": b"moved", "dir/deep/gone": b"gone", "emptied/last": b"last"}.items():
            world.write(path, content, age=3600)
        (world.root / "link").symlink_to("same")

    @staticmethod
    def change(world):
        """The changes since then."""
        world.write("dir/changed", b"new and longer")
        world.write("dir/touched", b"BBBB", age=3600)
        world.write("large", LARGE_NEW, age=120)
        world.write("dir/deep/new", b"new")
        world.write("zero", b"", age=120)
        (world.root / "dir/deep/moved").rename(world.root / "dir/moved")
        (world.root / "dir/deep/gone").unlink()
        (world.root / "emptied/last").unlink()
        (world.root / "empty").mkdir()

    @staticmethod
    def check(world, before, stored, code):
        """What must hold after a run with a fault."""
        require(world.files() == before, "the run has changed the local files")
        local, now = world.contents(), world.stored()
        for key in stored.keys() | now.keys():
            allowed = [stored.get(key), local.get(key)]
            if key in stored and key in local:
                require(now.get(key) is not None, f"the object {key} is gone, and its file exists")
            require(now.get(key) in allowed, f"the object {key} is neither the old nor the new one")
        contents = set(now.values()) | set(local.values())
        for key, content in stored.items():
            require(key not in local or local[key] != content or now[key] == content, f"{key} was damaged")
        require(local.items() <= now.items() or code != 0, "exit code 0, and a file is not stored")
        require(code != 3 or now == stored, "exit code 3, and the bucket has changed")

    @staticmethod
    def recover(world, _):
        pass

    @staticmethod
    def finish(world):
        complete(world, "backup")


class Restore:
    name, command, code = "restore", "restore", 0

    first = "restore"

    @staticmethod
    def begin(world):
        for path, content in {"same": b"same", "dir/changed": b"old", "dir/touched": b"AAAA", "large": LARGE_OLD,
                              "dir/deep/gone": b"gone", "replaced-link": b"old link"}.items():
            world.put(path, content, age=3600)

    @staticmethod
    def change(world):
        world.put("dir/changed", b"new and longer", age=60)
        world.put("dir/touched", b"BBBB", age=3600)
        world.put("large", LARGE_NEW, age=60)
        world.put("dir/new", b"new", age=60)
        world.put("new/deep/file", b"deep", age=60)
        world.put("reused", b"complete in a leftover", age=60)
        world.put("replaced-link", b"new link", age=60)
        world.put("zero", b"", age=60)
        del world.objects["dir/deep/gone"]
        (world.root / "dir/changed").chmod(0o600)
        world.write("local", b"local", age=3600)
        world.write(".s3keep-00000000000000aa.part", b"complete in a leftover", age=50)
        world.write("dir/.s3keep-00000000000000bb.part", b"incompl", age=50)
        (world.root / "replaced-link").unlink()
        (world.root / "replaced-link").symlink_to("same")

    @staticmethod
    def check(world, before, stored, code):
        require(world.stored() == stored, "the restore has changed the bucket")
        now = {path: entry for path, entry in world.files().items() if not is_own(path)}
        old = {path: entry for path, entry in before.items() if not is_own(path)}
        for path in old.keys() | now.keys() | stored.keys():
            if path not in now:
                require(path not in old or path not in stored, f"{path} is gone, and its object exists")
                continue
            content = now[path][1]
            require(content == stored.get(path) or path in old and content == old[path][1],
                    f"{path} is neither the old file nor the object")
            if path in old and stat.S_ISREG(old[path][0]):
                require(not now[path][0] & ~old[path][0] & 0o777, f"{path} grants more access than before")
        if code == 0:
            require({path: entry[1] for path, entry in now.items()} == stored, "exit code 0, and it is incomplete")
            require(not world.own_files(), f"exit code 0, and these are left: {world.own_files()}")
        require(code != 3 or world.files() == before, "exit code 3, and the directory has changed")

    @staticmethod
    def recover(world, before):
        """A backup by accident, if the restore was not complete but changed something."""
        is_marked = any(path.endswith(".restore") for path in world.own_files())
        keep = {path: entry for path, entry in before.items() if not is_own(path)}
        if {path: entry for path, entry in world.files().items() if not is_own(path)} == keep and not is_marked:
            return
        stored = world.stored()
        code, output = world.run("backup")
        now = world.stored()
        for key, content in stored.items():
            require(now.get(key) == content, f"a backup after the restore has lost the object {key}\n{output}")
        require(code in (0, 2), f"a backup after the restore ended with {code}\n{output}")

    @staticmethod
    def finish(world):
        complete(world, "restore")


class Unfinished:
    """A backup after an unfinished restore. One marker is in the directory, another in the one above."""
    name, command, code = "unfinished", "backup", 2
    first, begin = "restore", Restore.begin

    @staticmethod
    def change(world):
        Restore.change(world)
        code, output = world.run("restore", ["strace", "-f", "-o", "/dev/null", "-e", "inject=pwrite64:error=ENOSPC"])
        require(code == 2, f"an unfinished restore ended with {code}\n{output}")
        for path in world.own_files():
            if path.endswith(".part"):
                (world.root / path).unlink()
        marker, = world.own_files()
        first, *paths, _ = (world.root / marker).read_text().splitlines()
        require(len(paths) >= 4, f"the marker lists only {paths}")
        below = [f'"root/{path[1:]}' for path in paths[1::2]]
        for place, paths in (world.root, paths[::2]), (world.dir, below):
            (place / marker).write_text("\n".join([first, *paths, f"end {len(paths)}"]) + "\n")

    @staticmethod
    def check(world, before, stored, code):
        require(world.files() == before, "the run has changed the local files")
        now = world.stored()
        for key, content in stored.items():
            require(now.get(key) == content, f"the object {key} was lost, and the restore has not finished")
        require(code != 0, "exit code 0, and there are objects that are not restored")

    @staticmethod
    def recover(world, _):
        pass

    @staticmethod
    def finish(world):
        stored = world.stored()
        code, output = world.run("backup")
        require(code == 2, f"the next run ended with {code}\n{output}")
        require(stored.items() <= world.stored().items(), f"the next run has lost objects\n{output}")
        for marker in (*world.dir.glob(".s3keep-*"), *world.root.glob(".s3keep-*")):
            marker.unlink()


JOBS = {job.name: job for job in (Backup, Restore, Unfinished)}
