"""What every package needs: errors, files written whole, locks, threads, paths, tables, digests, progress."""
