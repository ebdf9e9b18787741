"""The polling of one gateway: who polls (election), in which process (child), and one poll after another (loop)."""
