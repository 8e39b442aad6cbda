"""How training wants its memory managed: environment variables that a process must be started with."""

# Every step takes and gives back gigabytes of frames and spectra. By default glibc returns such blocks to the kernel
# and takes them anew, zeroed, page by page: half a million page faults a step, a third of its CPU time. With these it
# keeps what it has, in the one arena that has room for large blocks, and torch asks for huge pages. Other allocators
# ignore them.
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
    "MALLOC_TRIM_THRESHOLD_": str(8 * 2**30),
    "THP_MEM_ALLOC_ENABLE": "1",
}
