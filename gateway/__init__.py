"""The shell around the pure core: everything that waits on a socket, a store or a clock."""
