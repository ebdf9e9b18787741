"""What ``make bench`` runs: each promise about speed and size, measured beside a peer in the same run."""
