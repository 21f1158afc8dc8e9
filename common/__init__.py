"""What every package needs: errors, atomic writes, locks, threads, paths, Lance tables, digests, progress."""
