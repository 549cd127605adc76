"""A small file system of its own, to be filled."""

import errno
import fcntl
import os
import shutil
import struct
import subprocess

from . import waiting


def mount_small(test, folder, size):
    """Mounts an empty one of `size` bytes in `folder` until the test has ended; its directory."""
    image, mount = folder / "disk.img", folder / "disk"
    with open(image, "wb") as file:
        file.truncate(size)
    mount.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    test.addCleanup(subprocess.run, ["umount", "-l", str(mount)], check=True)
    return mount


def fill(mount, leave):
    """Leaves so many bytes free (about: a file system counts in blocks); the file that takes the rest."""
    filler = mount / "filler"
    left = shutil.disk_usage(mount).free - leave
    with open(filler, "wb", buffering=0) as file:
        try:
            while left > 0:
                left -= file.write(b"x" * min(left, 1 << 16))
        except OSError as full:
            if full.errno != errno.ENOSPC:
                raise
    return filler


def fill_to_the_last_block(mount):
    """Leaves nothing at all; the file that takes it."""
    filler = fill(mount, 0)
    for other in range(1000):  # one file's own book-keeping may need more than there is
        try:
            with open(filler if other == 0 else f"{filler}-{other}", "ab", buffering=0) as file:
                while True:
                    file.write(b"x" * 512)
        except OSError as full:
            if full.errno != errno.ENOSPC:
                raise
        if os.statvfs(mount).f_bavail == 0:
            return filler
    raise AssertionError(f"{mount} cannot be filled")


def cut_power(mount):
    """The file system stops at this instant, as if the power had gone: what it had not written is lost,
    and whoever uses it gets errors."""
    shutdown, without_the_log = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
    root = os.open(mount, os.O_RDONLY)
    try:
        fcntl.ioctl(root, shutdown, struct.pack("I", without_the_log))
    finally:
        os.close(root)


def give_power_back(mount):
    """Mounts what is left. Nobody who lives may have a file of it open: the kernel lets go of a dead one's
    io_uring, and of the files in it, a moment later than of the process."""
    waiting.until(
        lambda: subprocess.run(["umount", mount], capture_output=True, check=False).returncode == 0,
        f"{mount} is still busy",
    )
    subprocess.run(["mount", "-o", "loop", mount.parent / "disk.img", mount], check=True)
